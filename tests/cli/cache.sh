# --model ORG/NAME: the local Hugging Face cache, by each of the variables that say where it is;
# a folder and the name of its checkpoint are the same model.
. "$(dirname "$0")/check.sh"

snapshot=cache/models--org--tiny/snapshots/0123abc
mkdir -p $snapshot cache/models--org--tiny/refs
printf 0123abc >cache/models--org--tiny/refs/main
cp "$data"/import_gpt2/* $snapshot
python3 - >$snapshot/tokenizer.json <<'PYTHON' || skip "no python3"
import json
vocab = {c: i for i, c in enumerate("abcdefghijklmnopqrstuvwxyz,.;:!?'-AIT\u0120\u010a")}
json.dump({"model": {"type": "BPE", "vocab": vocab, "merges": []},
           "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}}, open(1, "w"))
PYTHON

unset HF_HUB_CACHE HF_HOME XDG_CACHE_HOME
HOME=$PWD/nowhere
export HOME
run 3 "$gz" --model org/tiny text
says 'org/tiny'
says 'nothing is ever downloaded'

run 0 "$gz" -c --model $snapshot text
cp $out folder.gpz
run 0 env HF_HUB_CACHE=$PWD/cache "$gz" -c --model org/tiny text
same $out folder.gpz
mkdir -p home/.cache/huggingface
ln -s "$PWD/cache" home/.cache/huggingface/hub
run 0 env HF_HOME=$PWD/home/.cache/huggingface "$gz" -c --model org/tiny text
same $out folder.gpz
run 0 env XDG_CACHE_HOME=$PWD/home/.cache "$gz" -c --model org/tiny text
same $out folder.gpz
run 0 env HOME=$PWD/home "$gz" -dc --model org/tiny folder.gpz
same $out text

# The revision that refs/main names must be there.
printf 9999 >cache/models--org--tiny/refs/main
run 3 env HF_HUB_CACHE=$PWD/cache "$gz" --model org/tiny -f text
