# The engine beside a device: over the emulator everywhere, over CUDA where there is a GPU.
if(TARGET gpuzip_cuda_emulated)
    add_executable(test_cuda_queue_emulated test_cuda_queue.c)
    target_link_libraries(test_cuda_queue_emulated PRIVATE gpuzip_cuda_emulated gpuzip_kernels m
                          PkgConfig::CMOCKA)
    add_test(NAME test_cuda_queue_emulated COMMAND test_cuda_queue_emulated)
    set_tests_properties(test_cuda_queue_emulated PROPERTIES LABELS cuda TIMEOUT 300)

    # The engine's own files once more, for the sanitizers to look into them.
    file(GLOB engine_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/host/engine*.c
                                               ${PROJECT_SOURCE_DIR}/host/contexts*.c)
    add_executable(test_engine_emulated test_engine_cuda.c ${engine_sources}
                   ${PROJECT_SOURCE_DIR}/host/model.c ${PROJECT_SOURCE_DIR}/host/ngrams.c)
    target_compile_definitions(test_engine_emulated PRIVATE GPUZIP_EMULATED)
    target_compile_options(test_engine_emulated PRIVATE -fsanitize=address,undefined
                           -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
    target_include_directories(test_engine_emulated PRIVATE ${PROJECT_SOURCE_DIR}/host emulator)
    target_link_libraries(test_engine_emulated PRIVATE gpuzip_cuda_emulated gpuzip_kernels
                          gpuzip_coder gpuzip_weights PkgConfig::XXHASH PkgConfig::CMOCKA
                          OpenMP::OpenMP_C Threads::Threads m)
    foreach(run "1 89" "2 75")
        separate_arguments(run)
        list(GET run 0 seed)
        list(GET run 1 capability)
        set(name test_engine_emulated_${capability}_${seed})
        add_test(NAME ${name} COMMAND test_engine_emulated)
        set_tests_properties(${name} PROPERTIES LABELS cuda TIMEOUT 900 ENVIRONMENT
            "GPUZIP_EMULATOR_SEED=${seed};GPUZIP_EMULATOR_CAPABILITY=${capability}")
    endforeach()

    add_test(NAME test_engine_mutations
             COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/test_engine_mutations.sh ${CMAKE_C_COMPILER}
                     ${CMAKE_CXX_COMPILER} ${PROJECT_SOURCE_DIR}
                     ${CMAKE_CURRENT_BINARY_DIR}/engine_mutations -DGPUZIP_EMULATED -D_GNU_SOURCE
                     -I${CMAKE_CURRENT_SOURCE_DIR}/emulator -I${PROJECT_SOURCE_DIR}/kernels
                     -I${PROJECT_SOURCE_DIR}/coder -I${PROJECT_SOURCE_DIR}/weights -std=gnu17 -g
                     -ffp-contract=off -fsanitize=address,undefined -fno-sanitize-recover=all --
                     $<TARGET_FILE:gpuzip_cuda_emulated> $<TARGET_FILE:gpuzip_kernels>
                     $<TARGET_FILE:gpuzip_coder> $<TARGET_FILE:gpuzip_weights>
                     -lcmocka -lxxhash -ljansson -lcrypto -lgomp -lpthread -lm)
    set_tests_properties(test_engine_mutations PROPERTIES LABELS cuda TIMEOUT 1800)
endif()

if(TARGET gpuzip_cuda)
    gpuzip_test(test_cuda_queue gpuzip_cuda gpuzip_kernels m)
    gpuzip_test(test_engine_cuda gpuzip_cuda gpuzip_engine Threads::Threads m)
    if(GPUZIP_REQUIRE_GPU)
        target_compile_definitions(test_cuda_queue PRIVATE GPUZIP_REQUIRE_GPU)
        target_compile_definitions(test_engine_cuda PRIVATE GPUZIP_REQUIRE_GPU)
    endif()
endif()
