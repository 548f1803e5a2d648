#!/bin/bash
# Everything a GPU can check in one go: builds for its architecture, runs all tests with a
# skipped GPU test counted as failed, the kernel tests under compute-sanitizer, and the kernels'
# benchmark; a short table last.
#
#   tests/gpu.sh [BUILD_DIR]      default: build-gpu
set -u
source=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-build-gpu}
export PATH=$PATH:/usr/local/cuda/bin
declare -a table
failed=0

# step NAME COMMAND...: runs it and enters the result in the table.
step()
{
    local name=$1 begin=$SECONDS result=ok
    shift
    echo "== $name"
    "$@" || { result=FAILED failed=1; }
    table+=("$(printf '%-28s %-8s %4d s' "$name" "$result" $((SECONDS - begin)))")
}

# skip NAME WHY
skip()
{
    table+=("$(printf '%-28s skipped: %s' "$1" "$2")")
}

capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 |
    tr -d '. ')
if [ -z "$capability" ]; then
    echo "gpu.sh: nvidia-smi finds no GPU" >&2
    exit 1
fi
[ "$capability" = 90 ] && capability=90a

step configure cmake -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=Release -DGPUZIP_CUDA=ON \
    -DGPUZIP_CUDA_ARCHITECTURES="$capability-real" -DGPUZIP_REQUIRE_GPU=ON
step build cmake --build "$build" -j "$(nproc)" --target all bench_cuda
step "kernels against the CPU" "$build/test_cuda_ops"
step "all tests" ctest --test-dir "$build" --output-on-failure -j "$(nproc)"
for tool in memcheck racecheck; do
    if command -v compute-sanitizer >/dev/null; then
        step "compute-sanitizer $tool" compute-sanitizer --tool "$tool" --error-exitcode 1 \
            "$build/test_cuda_ops"
    else
        skip "compute-sanitizer $tool" "not installed"
    fi
done
step benchmark "$build/bench_cuda"

echo
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
printf '%s\n' "${table[@]}"
exit $failed
