# The archives of this folder: good-* decode to golden.txt, bad-* are damaged, unsupported-* are of a
# format to come. make.py made them.
here=$(cd "$(dirname "$0")" && pwd)
. "$(dirname "$0")/../cli/check.sh"

cp "$here"/archives/*.gpz .
for i in 1 2 3 4 5 6 7 8 9 10; do cat "$here/golden.txt"; done >golden10
model="--model $here/../reproduce/50K.gpzm"
for file in good-*.gpz; do
    case $file in
    *coded*) with=$model ;;
    *) with= ;;
    esac
    case $file in
    *learnt*) for i in 1 2 3 4 5 6; do cat golden10; done >wanted ;;
    *) cp "$here/golden.txt" wanted ;;
    esac
    run 0 "$gz" -dc $with "$file"
    same $out wanted
    run 0 "$gz" -t $with "$file"
    run 0 "$gz" -lv "$file"
done
for file in bad-*.gpz; do
    run 1 "$gz" -t $model "$file"
    says "$file: corrupt data: "
    run 1 "$gz" -d $model "$file"
    absent "${file%.gpz}"
    run 1 "$gz" -d --keep-going $model "$file"
done
for file in unsupported-*.gpz; do
    for option in -t -d -l '-d --keep-going'; do
        run 1 "$gz" $option $model "$file"
        says "$file: unsupported feature: made by a newer version"
    done
    absent "${file%.gpz}"
done
