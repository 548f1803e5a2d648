gpuzip_test(test_rangecoder gpuzip_coder m)

# Not a test: ninja bench_rangecoder && ./bench_rangecoder
add_executable(bench_rangecoder EXCLUDE_FROM_ALL bench_rangecoder.c)
target_link_libraries(bench_rangecoder PRIVATE gpuzip_coder)
