# The CUDA backend: executed by the emulator everywhere, built by nvcc where there is one.
include(CheckLanguage)
check_language(CXX)
if(CMAKE_CXX_COMPILER AND NOT GPUZIP_FUZZ)
    enable_language(CXX)
    add_subdirectory(emulator)

    foreach(name ops linear mix_adaptive)
        add_executable(test_cuda_${name}_emulated test_cuda_${name}.c)
        target_link_libraries(test_cuda_${name}_emulated PRIVATE gpuzip_cuda_emulated
                              gpuzip_kernels m PkgConfig::CMOCKA)
    endforeach()
    # The seed decides which thread runs when; Turing has other products and copies. Linear
    # layers have a path for 9.0 as well, and cuBLAS on all. A library with wrong sums, which
    # is fast at them, must never be chosen.
    foreach(run "1 75 off right" "2 89 off right" "3 90 off right" "4 90 off right"
                "5 90 auto right" "6 90 auto wrong" "7 89 on right")
        separate_arguments(run)
        list(GET run 0 seed)
        list(GET run 1 capability)
        list(GET run 2 cublas)
        list(GET run 3 sums)
        set(name test_cuda_linear_emulated_${capability}_${seed})
        add_test(NAME ${name} COMMAND test_cuda_linear_emulated)
        set_tests_properties(${name} PROPERTIES LABELS cuda TIMEOUT 900 ENVIRONMENT
            "GPUZIP_EMULATOR_SEED=${seed};GPUZIP_EMULATOR_CAPABILITY=${capability};\
GPUZIP_CUBLAS=${cublas};GPUZIP_EMULATOR_CUBLAS=${sums}")
    endforeach()

    foreach(run "1 89" "2 90" "3 75")
        separate_arguments(run)
        list(GET run 0 seed)
        list(GET run 1 capability)
        set(name test_cuda_ops_emulated_${capability}_${seed})
        add_test(NAME ${name} COMMAND test_cuda_ops_emulated)
        set_tests_properties(${name} PROPERTIES LABELS cuda TIMEOUT 900 ENVIRONMENT
            "GPUZIP_EMULATOR_SEED=${seed};GPUZIP_EMULATOR_CAPABILITY=${capability}")
    endforeach()

    foreach(run "1 89" "2 75")
        separate_arguments(run)
        list(GET run 0 seed)
        list(GET run 1 capability)
        set(name test_cuda_mix_adaptive_emulated_${capability}_${seed})
        add_test(NAME ${name} COMMAND test_cuda_mix_adaptive_emulated)
        set_tests_properties(${name} PROPERTIES LABELS cuda TIMEOUT 900 ENVIRONMENT
            "GPUZIP_EMULATOR_SEED=${seed};GPUZIP_EMULATOR_CAPABILITY=${capability}")
    endforeach()

    # The whole program over the emulated backend.
    gpuzip_add_host(gpuzip_host_emulated gpuzip_cuda_emulated emulated)
    gpuzip_add_program(gpuzip_emulated gpuzip_host_emulated)
    target_compile_options(gpuzip_host_emulated PRIVATE -fsanitize=address,undefined
                           -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
    target_compile_options(gpuzip_emulated PRIVATE -fsanitize=address,undefined
                           -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
    add_test(NAME cli_emulated
             COMMAND sh ${CMAKE_CURRENT_LIST_DIR}/cli/emulated.sh $<TARGET_FILE:gpuzip_emulated>
                     $<TARGET_FILE:tiny_checkpoint> $<TARGET_FILE:gpuzip>)
    set_tests_properties(cli_emulated PROPERTIES LABELS cuda TIMEOUT 1800)

    add_test(NAME test_cuda_mutations
             COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/test_cuda_mutations.sh ${CMAKE_CXX_COMPILER}
                     ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_BINARY_DIR}/mutations
                     $<TARGET_OBJECTS:test_cuda_ops_emulated>
                     $<TARGET_OBJECTS:test_cuda_linear_emulated>
                     $<TARGET_OBJECTS:test_cuda_mix_adaptive_emulated>
                     $<TARGET_FILE:gpuzip_cuda_emulated>
                     $<TARGET_FILE:gpuzip_kernels> -lcmocka -lgomp -lm
             COMMAND_EXPAND_LISTS)
    set_tests_properties(test_cuda_mutations PROPERTIES LABELS cuda TIMEOUT 1800)
endif()

option(GPUZIP_REQUIRE_GPU "A test that finds no GPU fails instead of being skipped" OFF)
if(TARGET gpuzip_cuda)
    foreach(name ops linear mix_adaptive)
        gpuzip_test(test_cuda_${name} gpuzip_cuda gpuzip_kernels m)
        if(GPUZIP_REQUIRE_GPU)
            target_compile_definitions(test_cuda_${name} PRIVATE GPUZIP_REQUIRE_GPU)
        endif()
    endforeach()
endif()

find_program(GPUZIP_NVCC nvcc HINTS /usr/local/cuda/bin DOC "For the checks of the CUDA build")
mark_as_advanced(GPUZIP_NVCC)
add_test(NAME test_cuda_build
         COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/test_cuda_build.sh ${GPUZIP_NVCC} ${PROJECT_SOURCE_DIR}
                 ${CMAKE_CURRENT_BINARY_DIR}/cuda_build)
set_tests_properties(test_cuda_build PROPERTIES LABELS cuda SKIP_RETURN_CODE 77 TIMEOUT 1800)
