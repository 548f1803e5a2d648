# The kernels: each test links gpuzip_kernels alone.
pkg_check_modules(MPFR REQUIRED IMPORTED_TARGET mpfr)

gpuzip_test(test_detmath gpuzip_kernels PkgConfig::MPFR m)
gpuzip_test(test_rows gpuzip_kernels m)
gpuzip_test(test_attention gpuzip_kernels m)
gpuzip_test(test_linear gpuzip_kernels m)
gpuzip_test(test_mix gpuzip_kernels m)
gpuzip_test(test_mix_adaptive gpuzip_kernels m)
gpuzip_test(test_mix_steps gpuzip_kernels m)
gpuzip_test(test_theory gpuzip_kernels m)
