# python.sh GPUZIP BUILD SOURCE PYTHON: builds the Python package in a temporary folder, over the
# shared library of the build folder, and runs the tests with pytest or, without it, unittest.
# Exit code 77: skipped.
tests=$(cd "$(dirname "$0")" && pwd)
gpuzip=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") build=$2 source=$3 python=$4
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM

skip() {
    echo "skipped: $*"
    exit 77
}

[ -e "$build/host/library/libgpuzip.so" ] || skip "no libgpuzip.so: the target gpuzip_shared"
"$python" -c 'import setuptools' 2>/dev/null || skip "no setuptools"
"$python" -c 'import os, sysconfig
os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null ||
    skip "no Python.h (python3-dev)"

# setuptools writes beside its sources, too.
cp -r "$source/tools/python" "$folder/source" && cd "$folder/source" || exit 1
GPUZIP_BUILD=$build CFLAGS='-Wall -Wextra -Werror' "$python" setup.py -q build \
    --build-base "$folder/build" --build-lib "$folder/package" >"$folder/log" 2>&1 || {
    cat "$folder/log"
    exit 1
}
cd "$folder" || exit 1
GPUZIP_PROGRAM=$gpuzip
PYTHONPATH=$folder/package
OMP_WAIT_POLICY=passive # threads that wait for another test's do not spin
export GPUZIP_PROGRAM PYTHONPATH OMP_WAIT_POLICY PYTHONDONTWRITEBYTECODE=1
if "$python" -c 'import pytest' 2>/dev/null; then
    "$python" -W error -m pytest -q -p no:cacheprovider "$tests"
else
    "$python" -W error -m unittest discover -s "$tests"
fi
