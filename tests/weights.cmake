# The model file and the importers: these tests link gpuzip_weights alone. They look into its
# internal headers, so that parsers are reached with bytes in memory.
pkg_check_modules(MPFR REQUIRED IMPORTED_TARGET mpfr)
gpuzip_test(test_weights gpuzip_weights PkgConfig::JANSSON)
gpuzip_test(test_import gpuzip_weights PkgConfig::JANSSON m)
gpuzip_test(test_import_refused gpuzip_weights PkgConfig::JANSSON)
gpuzip_test(test_rope gpuzip_weights PkgConfig::MPFR gmp m)
gpuzip_fuzz(fuzz_weights gpuzip_weights)
gpuzip_fuzz(fuzz_import gpuzip_weights PkgConfig::JANSSON)

# The ids in test_import.c, made again by a second implementation.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
    set(source ${CMAKE_CURRENT_SOURCE_DIR})
    add_test(NAME golden_import
             COMMAND Python3::Interpreter ${source}/golden_import.py ${source}/test_import.c)
endif()
