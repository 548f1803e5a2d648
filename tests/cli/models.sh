# gpuzip model, --model and the exit code for a missing one.
. "$(dirname "$0")/check.sh"

run 0 "$gz" model info
prints '^id  *[0-9a-f]\{64\}$'
prints '^vocabulary  *[0-9]'
run 0 "$gz" model info --json
prints '^{"name":.*}$'

run 3 "$gz" model info missing.gpzm
says 'missing.gpzm'
run 3 "$gz" --model missing.gpzm text
says 'missing.gpzm'
absent text.gpz
run 3 "$gz" --model missing.gpzm -q -t text

run 1 "$gz" model
says "'./model'"
run 1 "$gz" model bogus
run 1 "$gz" model import
run 1 "$gz" model import a
run 1 "$gz" model import a b -o c
run 1 "$gz" model import a -o c --weight-bits 9
run 1 "$gz" model import a -o c --kv-bits 15
run 1 "$gz" model info --bogus
run 1 "$gz" model import text -o text
says 'already exists'
run 1 "$gz" model import text -o x.gpzm
absent x.gpzm

# A file of that name.
cp text model
run 0 "$gz" ./model
exists model.gpz
run 0 "$gz" -c -- model
