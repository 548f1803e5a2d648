# The kernels: each test links gpuzip_kernels alone.
