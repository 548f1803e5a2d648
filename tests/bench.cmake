# gpuzip-bench: its random models, and what it prints.
add_executable(test_bench_model test_bench_model.c)
target_link_libraries(test_bench_model PRIVATE gpuzip_bench_model PkgConfig::CMOCKA)
add_test(NAME test_bench_model COMMAND test_bench_model)
add_test(NAME cli_bench COMMAND sh ${CMAKE_CURRENT_LIST_DIR}/cli/bench.sh
                                $<TARGET_FILE:gpuzip-bench>)
set_tests_properties(test_bench_model cli_bench PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)
