# The installed programs: they find their library, write the same bytes as the program of the build
# folder, and gpunzip and gpzcat decompress.
. "$(dirname "$0")/../cli/check.sh"
. "$(dirname "$0")/tree.sh"

run 0 "$bin/gpuzip" -V
prints '^gpuzip [0-9]'
run 0 "$bin/gpuzip-bench" -V
prints '^gpuzip-bench [0-9]'

run 0 "$gz" -c text
cp $out built
run 0 "$bin/gpuzip" text
same text.gpz built

run 0 "$bin/gpzcat" text.gpz
same $out text
run 0 "$bin/gpzcat" <text.gpz
same $out text
cp text saved
run 1 "$bin/gpunzip" text.gpz
says 'already exists'
run 0 "$bin/gpunzip" -f text.gpz
same text saved
exists text.gpz
# They are names of the program: options go on to tell otherwise, but there are no commands.
run 0 "$bin/gpunzip" -zc text
same $out built
run 1 "$bin/gpunzip" model info
says 'model: cannot open: No such file'
run 0 "$bin/gpuzip" model info
prints '^name '

# The model is there once: in the library. gpuzip-bench takes it from there.
[ "$(wc -c <"$bin/gpuzip")" -lt 4000000 ] || fail "gpuzip is large"
if command -v nm >/dev/null; then
    nm -D --undefined-only "$bin/gpuzip-bench" | grep -q 'builtin_model@GPUZIP_PRIVATE' ||
        fail "gpuzip-bench holds a model of its own"
fi
run 0 env OMP_NUM_THREADS=1 "$bin/gpuzip-bench" --coding --quick --seconds 0.1 --streams 2 --device cpu -q
prints '^decode'

# The version alone, for scripts.
run 0 "$gz" -V -q
[ "$(cat $out)" = "$("$gz" -V | sed -n 's/^gpuzip //p')" ] || fail "-V -q prints '$(cat $out)'"
run 0 "$gz" -qV
[ "$(wc -l <$out)" -eq 1 ] || fail "-qV prints more than the version"
