# The installed library: its headers compile alone, it exports the functions of gpuzip.h and no
# others, and programs that are built against it with pkg-config or with CMake run.
. "$(dirname "$0")/../cli/check.sh"
. "$(dirname "$0")/tree.sh"

command -v pkg-config >/dev/null || skip "needs pkg-config"
command -v nm >/dev/null || skip "needs nm"
lib=$(pkg-config --variable=libdir gpuzip) || fail "no gpuzip.pc"
include=$(pkg-config --variable=includedir gpuzip)

echo '#include <gpuzip.h>' >header.c
for standard in c99 c11 c17; do
    run 0 "$cc" -std=$standard -pedantic -Wall -Wextra -Werror -fsyntax-only -I"$include" header.c
done
cp header.c header.cpp
if command -v c++ >/dev/null; then
    run 0 c++ -std=c++11 -pedantic -Wall -Wextra -Werror -fsyntax-only -I"$include" header.cpp
fi

cat "$include"/gpuzip*.h | tr '\n' ' ' | grep -oE 'GPUZIP_API[^;]*' |
    grep -oE 'gpuzip_[a-z_0-9]+\(' | tr -d '(' | sort -u >declared
[ "$(wc -l <declared)" -gt 20 ] || fail "found few declarations"
nm -D --defined-only "$lib/libgpuzip.so" | awk '$2 != "A" { print $3 }' >all
grep '@@GPUZIP_0$' all | sed 's/@@.*//' | sort -u >exported
run 0 diff declared exported
# gpuzip-bench's alone.
[ "$(grep -v '@@GPUZIP_0$' all | sort | tr '\n' ' ')" = \
    'builtin_model@@GPUZIP_PRIVATE builtin_model_size@@GPUZIP_PRIVATE ' ] ||
    fail "exports more: $(cat all)"
# The linker merges two kinds with those of a program, as it should: unique ones (u), of C++ in
# CUDA's headers, and common ones (C), locks of clang's OpenMP.
nm -g --defined-only "$lib/libgpuzip.a" | awk 'NF == 3 && $2 !~ /[uC]/ { print $3 }' | sort -u >global
run 0 diff declared global
run 0 objdump -p "$lib/libgpuzip.so"
prints 'SONAME *libgpuzip\.so\.0$'

# works COMMANDS: the example programs, of that folder and suffix, work.
works() {
    run 0 "$1/buffer$2" text
    prints '^400 => '
    "$1/stream$2" <text >streamed 2>$err || fail "stream$2 failed"
    "$1/stream$2" -d <streamed >back 2>$err || fail "stream$2 -d failed"
    same back text
    run 0 "$bin/gpzcat" streamed
    same $out text
    "$bin/gpuzip" -c text | "$1/stream$2" -d >back 2>$err || fail "stream$2 -d of gpuzip's failed"
    same back text
    "$1/seek$2" streamed 100 50 >back 2>$err || fail "seek$2 failed"
    tail -c +101 text | head -c 50 | cmp - back || fail "seek$2 gives other bytes"
}

mkdir pc
for name in buffer stream seek; do
    # shellcheck disable=SC2046 # lists of options
    run 0 "$cc" -std=c11 -Wall -Wextra -Werror "$source/tools/examples/$name.c" -o pc/$name \
        $(pkg-config --cflags --libs gpuzip) -Wl,-rpath,"$lib"
    # shellcheck disable=SC2046
    run 0 "$cc" "$source/tools/examples/$name.c" -o pc/${name}_static $(pkg-config --cflags gpuzip) \
        "$lib/libgpuzip.a" $(pkg-config --static --libs gpuzip | sed 's/-lgpuzip//')
done
works pc ''
works pc _static

run 0 cmake -S "$source/tools/examples" -B cm -DCMAKE_PREFIX_PATH="$tree" -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_BUILD_TYPE=Release
run 0 cmake --build cm
works cm ''
works cm _static
# A version that is not there.
mkdir newer
printf '%s\n' 'cmake_minimum_required(VERSION 3.16)' 'project(newer C)' \
    'find_package(gpuzip 9 REQUIRED)' >newer/CMakeLists.txt
run 1 cmake -S newer -B newer/build -DCMAKE_PREFIX_PATH="$tree" -DCMAKE_C_COMPILER="$cc"
says 'with requested version "9"'
