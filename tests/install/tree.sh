# Functions that the tests of the installed tree share, after check.sh. Each is run as
# `sh TEST.sh GPUZIP TREE SOURCE CC`: the program of the build folder, the installed tree, the
# project's folder and the compiler.
tree=$2
source=$3
cc=$4
bin=$tree/bin
export PKG_CONFIG_PATH="$tree/lib/pkgconfig"
unset LD_LIBRARY_PATH GPUZIP_DEVICE
