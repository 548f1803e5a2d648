# The program and its library are built and installed where no library of the tests is found.
#
#     sh alone.sh GPUZIP SOURCE CC
. "$(dirname "$0")/../cli/check.sh"
source=$2
cc=$3
command -v pkg-config >/dev/null || skip "needs pkg-config"

# All modules of this machine but those of the tests.
mkdir modules
pkg-config --variable pc_path pkg-config | tr ':' '\n' | while read -r path; do
    [ ! -d "$path" ] || find "$path" -name '*.pc' ! -name 'cmocka*' ! -name 'mpfr*' \
        -exec ln -sf {} modules \;
done
unset PKG_CONFIG_PATH
export PKG_CONFIG_LIBDIR="$folder/modules"

configure() {
    cmake -S "$source" -B build -DCMAKE_C_COMPILER="$cc" -DGPUZIP_CUDA=OFF \
        -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_INSTALL_LIBDIR=lib "$@"
}
run 1 configure -DGPUZIP_TESTS=ON
says 'cmocka or mpfr is missing'
run 0 configure -DGPUZIP_TESTS=AUTO
[ "$(grep -c 'Tests are off' $out)" -eq 1 ] || fail "no line, or several, about the tests"
run 0 cmake --build build
absent build/tests
run 0 env DESTDIR="$folder/stage" cmake --install build --prefix /opt/gpuzip
exists stage/opt/gpuzip/bin/gpuzip
absent stage/opt/gpuzip/bin/train_prior
grep -q '^prefix=/opt/gpuzip$' stage/opt/gpuzip/lib/pkgconfig/gpuzip.pc || fail "gpuzip.pc: prefix"
run 0 "$gz" -c text
cp $out built
run 0 stage/opt/gpuzip/bin/gpuzip -c text
same $out built
