gpuzip_test(test_rangecoder gpuzip_coder m)
gpuzip_test(test_container gpuzip_coder)
gpuzip_test(test_container_fields gpuzip_coder)
gpuzip_fuzz(fuzz_container gpuzip_coder)

# Not a test: ninja bench_rangecoder && ./bench_rangecoder
add_executable(bench_rangecoder EXCLUDE_FROM_ALL bench_rangecoder.c)
target_link_libraries(bench_rangecoder PRIVATE gpuzip_coder)

# The goldens, made again by a second implementation.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
    set(source ${CMAKE_CURRENT_SOURCE_DIR})
    add_test(NAME golden_coder
             COMMAND Python3::Interpreter ${source}/golden_coder.py
                     mixed=${source}/test_rangecoder.c carry=${source}/test_rangecoder.c
                     ones=${source}/test_rangecoder.c file=${source}/test_container.c
                     frames=${source}/test_container_fields.c
                     file=${PROJECT_SOURCE_DIR}/coder/FORMAT.md)
    set_tests_properties(golden_coder PROPERTIES SKIP_RETURN_CODE 77)
endif()
