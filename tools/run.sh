#!/bin/sh
# Builds gpuzip and shows its main job: compresses FILE, decompresses it in another
# process, compares, and prints the sizes and times beside those of xz, zstd and bzip3
# where they are installed.
#
#     sh tools/run.sh [FILE]
#
# Installs missing build packages (Debian and Ubuntu, as root or with sudo). Without FILE: tests/data/alice29.txt, Alice's Adventures in Wonderland by Lewis
# Carroll, in the public domain, from the Canterbury corpus.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
file=${1:-$root/tests/data/alice29.txt}
build=$root/build
program=$build/gpuzip

die() {
    echo "run.sh: $*" >&2
    exit 1
}

# Prints the missing packages.
missing_packages() {
    command -v cc >/dev/null && command -v make >/dev/null || echo build-essential
    command -v cmake >/dev/null || echo cmake
    if ! command -v pkg-config >/dev/null; then
        echo pkg-config libxxhash-dev libjansson-dev libpcre2-dev libssl-dev liblzma-dev \
            libzstd-dev
        return
    fi
    pkg-config --exists libxxhash || echo libxxhash-dev
    pkg-config --exists jansson || echo libjansson-dev
    pkg-config --exists libpcre2-8 || echo libpcre2-dev
    pkg-config --exists libcrypto || echo libssl-dev
    pkg-config --exists liblzma || echo liblzma-dev
    pkg-config --exists libzstd || echo libzstd-dev
}

install_packages() {
    packages=$(missing_packages)
    [ "$packages" ] || return 0
    # shellcheck disable=SC2086 # a list of names
    set -- $packages
    echo "Installing: $*"
    command -v apt-get >/dev/null || die "no apt-get here; install these by hand: $*"
    if [ "$(id -u)" -eq 0 ]; then
        as_root='env'
    elif command -v sudo >/dev/null; then
        as_root='sudo env'
    else
        die "run as root, or install these by hand: $*"
    fi
    $as_root apt-get -qq update
    $as_root DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "$@"
}

build_program() {
    # The tests need more than the program does; leave an older choice as it is.
    [ -f "$build/CMakeCache.txt" ] ||
        cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DGPUZIP_TESTS=OFF
    cmake --build "$build" -j "$(nproc)" --target gpuzip
}

seconds() {
    date +%s.%N
}

# measure NAME COMPRESSOR DECOMPRESSOR: filters from standard input to standard output.
measure() {
    begun=$(seconds)
    sh -c "$2" <"$file" >"$folder/small" || die "$1 cannot compress $file"
    between=$(seconds)
    sh -c "$3" <"$folder/small" >"$folder/back" || die "$1 cannot decompress its own file"
    ended=$(seconds)
    cmp "$file" "$folder/back" || die "$1 did not give the same bytes back"
    wc -c <"$folder/small" | awk -v name="$1" -v size="$size" \
        -v a="$begun" -v b="$between" -v c="$ended" \
        '{ printf "%-14s %12d %10.4f %11.2f s %11.2f s\n", name, $1, (size ? 8 * $1 / size : 0), b - a, c - b }'
}

[ -f "$file" ] || die "$file: no such file"
install_packages
build_program

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM

size=$(($(wc -c <"$file")))
echo
echo "$file: $size bytes"
printf '%-14s %12s %10s %13s %13s\n' '' bytes bits/byte compress decompress
export program
measure gpuzip '"$program" -c' '"$program" -dc'
command -v xz >/dev/null && measure 'xz -9e' 'xz -9e -c' 'xz -dc'
command -v zstd >/dev/null && measure 'zstd -19' 'zstd -q -19 -c' 'zstd -q -dc'
command -v bzip3 >/dev/null && measure bzip3 'bzip3 -e -c' 'bzip3 -d -c'
echo "Every size is that of a file that was decompressed and compared. gpuzip's model is"
echo "part of the program, not of the file; its time includes a trial decompression."
