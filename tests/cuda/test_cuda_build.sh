#!/bin/bash
# What can be checked of the CUDA kernels with a compiler and no device: they build for every
# architecture without a warning, no kernel spills registers, no wgmma products are serialised,
# and the PTX holds no float instruction that is approximate or flushes subnormals.
#
#   test_cuda_build.sh NVCC SOURCE_DIR WORK_DIR -I...
#
# Exits with 77 (skipped) where there is no nvcc.
set -u
nvcc=$1 source=$2 work=$3
shift 3
architectures=(75 80 86 89 90a 100 120)
flags=(-std=c++20 -O3 --fmad=false --ftz=false --prec-div=true --prec-sqrt=true
       -Werror all-warnings -Xcompiler -Wall,-Wextra,-Werror
       "$@")

command -v "$nvcc" >/dev/null || exit 77
mkdir -p "$work" || exit 1

# check FILE: builds kernels/cuda/FILE; what is wrong goes to stdout.
check()
{
    local file=$1 gencode=() log=$work/$1.log ptx=$work/$1.ptx
    for architecture in "${architectures[@]}"; do
        gencode+=(-gencode "arch=compute_$architecture,code=sm_$architecture")
    done
    if ! "$nvcc" "${flags[@]}" "${gencode[@]}" -Xptxas -v -c "$source/kernels/cuda/$file" \
        -o "$work/$file.o" 2>"$log"; then
        echo "$file: does not build without warnings"
        grep -v '^ptxas info' "$log"
    fi
    # "Potential Performance Loss: wgmma.mma_async instructions are serialized", setmaxnreg ignored
    grep -E '\(C75[0-9]+\)' "$log" | sed "s/^/$file: /"
    awk -v file="$file" '/Compiling entry function/ { entry = $6 " " $8 $9 }
        /[1-9][0-9]* bytes spill/ { print file ": spills: " entry ": " $0 }' "$log"
    for architecture in 75 120; do
        "$nvcc" "${flags[@]}" -arch "compute_$architecture" -ptx "$source/kernels/cuda/$file" \
            -o "$ptx" || echo "$file: no PTX for $architecture"
        grep -nE '\.(approx|ftz)|\bfma\.rn\.f64' "$ptx" | sed "s/^/$file, sm_$architecture: /"
    done
}

found=$(for file in "$source"/kernels/cuda/*.cu; do check "$(basename "$file")"; done)
if [ -n "$found" ]; then
    echo "$found"
    exit 1
fi
