# The engine and the library, with a tiny model made on the spot.
gpuzip_test(test_engine gpuzip_engine)
gpuzip_test(test_gpuzip gpuzip_host)
gpuzip_fuzz(fuzz_gpuzip gpuzip_host)
