#!/bin/sh
# Runs every test: installs missing packages (Debian, as root or with sudo), builds, then
#   1. all of ctest on the release build, the files of the corpus and the oracles among them;
#   2. the unit tests once more under AddressSanitizer and UndefinedBehaviorSanitizer;
#   3. every fuzz target for a minute, and archives of gcc's and clang's programs compared.
# As many tests run at a time as there are processors.
#
#     sh tests/run.sh
#
# Environment: GPUZIP_DATA, the folder with models/, tokenizers/ and dev/ that some tests use
# (default: ../shared/data beside the project; where it is absent they are skipped and counted so);
# GPUZIP_FUZZ_SECONDS, 60; GPUZIP_REQUIRE_GPU=ON turns skipped GPU tests into failures.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
jobs=$(nproc)
seconds=${GPUZIP_FUZZ_SECONDS-60}
export GPUZIP_DATA="${GPUZIP_DATA-$root/../shared/data}"
passed=0 failed=0 skipped=0

install_packages() {
    packages=""
    for package in build-essential cmake pkg-config libxxhash-dev libjansson-dev libpcre2-dev \
        libssl-dev liblzma-dev libzstd-dev libcmocka-dev libmpfr-dev clang libclang-rt-14-dev python3 file mandoc shared-mime-info xz-utils zstd bzip3 \
        brotli; do
        dpkg -s "$package" >/dev/null 2>&1 || packages="$packages $package"
    done
    [ -n "$packages" ] || return 0
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    # shellcheck disable=SC2086 # a list
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $packages
}

# count NAME STATUS: one line of the report; 77 is a skip.
count() {
    case $2 in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *)
        failed=$((failed + 1))
        echo "FAILED: $1"
        ;;
    esac
}

# count_ctest NAME LOG: adds the results of the tests in ctest's output.
count_ctest() {
    p=$(grep -c ' Passed ' "$2" || true)
    s=$(grep -cE '\*\*\*(Skipped|Not Run)' "$2" || true)
    f=$(grep -cE '\*\*\*(Failed|Timeout|Exception)' "$2" || true)
    # within a passed program, cmocka counts its own skips
    passed=$((passed + p)) skipped=$((skipped + s)) failed=$((failed + f))
    [ "$f" = 0 ] || echo "FAILED: $f of ctest ($1)"
}

# build FOLDER TARGET OPTIONS...
build() {
    folder=$1 target=$2
    shift 2
    cmake -S "$root" -B "$folder" "$@" >"$folder.log" 2>&1 &&
        cmake --build "$folder" -j "$jobs" --target "$target" >>"$folder.log" 2>&1 || {
        tail -40 "$folder.log"
        echo "0 passed, 1 failed, 0 skipped"
        exit 1
    }
    ! grep -i 'warning:' "$folder.log" || {
        echo "FAILED: the compiler warns"
        failed=$((failed + 1))
    }
}

install_packages

echo "== release"
build "$root/build" all -DCMAKE_BUILD_TYPE=Release -DGPUZIP_TESTS=ON
# Tests that use all processors have the property PROCESSORS (CMakeLists.txt).
(cd "$root/build" && ctest --output-on-failure -j "$jobs" 2>&1 | tee ctest.out) || true
count_ctest release "$root/build/ctest.out"

echo "== sanitizers"
build "$root/build-sanitize" all -DCMAKE_BUILD_TYPE=RelWithDebInfo -DGPUZIP_SANITIZE=ON -DGPUZIP_CUDA=OFF
(cd "$root/build-sanitize" &&
    ctest --output-on-failure -j "$jobs" -LE 'slow|cuda' -E golden_ 2>&1 | tee ctest.out) || true
count_ctest sanitizers "$root/build-sanitize/ctest.out"

echo "== clang, fuzzing for $seconds s a target"
build "$root/build-fuzz" fuzz -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang \
    -DCMAKE_CXX_COMPILER=clang++ -DGPUZIP_FUZZ=ON -DGPUZIP_CUDA=OFF
status=0
sh "$root/tests/compilers.sh" "$root/build/gpuzip" "$root/build-fuzz/gpuzip" \
    "$root/build/tiny_checkpoint" || status=$?
count "archives of two compilers" $status

# fuzz NAME: runs a fuzz target; its exit code goes to NAME.status.
fuzz() {
    mkdir -p "corpus_$1"
    status=0
    "./$1" -max_total_time="$seconds" -rss_limit_mb=4096 -timeout=60 -print_final_stats=1 \
        "corpus_$1" >"$1.log" 2>&1 || status=$?
    echo $status >"$1.status"
}

# One processor a target, as many targets at a time as there are processors.
cd "$root/build-fuzz"
running=0
for target in fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    fuzz "$target" &
    running=$((running + 1))
    [ $((running % jobs)) != 0 ] || wait
done
wait
for target in fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    status=$(cat "$target.status")
    [ "$status" = 0 ] || tail -30 "$target.log"
    echo "$target: $(sed -n 's/stat::number_of_executed_units: *//p' "$target.log") runs"
    count "$target" "$status"
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
