# The engine and the library, with a tiny model made on the spot.
gpuzip_test(test_engine gpuzip_engine Threads::Threads)
gpuzip_test(test_engine_plain gpuzip_engine)
gpuzip_test(test_contexts gpuzip_engine Threads::Threads m)
gpuzip_test(test_ngrams gpuzip_engine m)
gpuzip_fuzz(fuzz_contexts gpuzip_engine)
gpuzip_test(test_fit gpuzip_engine m)
gpuzip_test(test_logits gpuzip_engine m)
gpuzip_test(test_gpuzip gpuzip_host)
gpuzip_test(test_measure gpuzip_host m)
gpuzip_test(test_adaptive gpuzip_host)
gpuzip_test(test_packed gpuzip_packed)
gpuzip_fuzz(fuzz_packed gpuzip_packed)
gpuzip_fuzz(fuzz_gpuzip gpuzip_host)

if(NOT GPUZIP_SANITIZE AND NOT GPUZIP_FUZZ)
    add_test(NAME test_adaptive_mutations
             COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/test_adaptive_mutations.sh ${CMAKE_C_COMPILER}
                     ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_BINARY_DIR}/adaptive_mutations
                     -D_GNU_SOURCE -std=gnu17 -O1 -ffp-contract=off -fno-math-errno
                     -fno-trapping-math -fopenmp -I${PROJECT_SOURCE_DIR}/host
                     -I${PROJECT_SOURCE_DIR}/kernels -I${PROJECT_SOURCE_DIR}/coder
                     -I${PROJECT_SOURCE_DIR}/weights --
                     $<TARGET_FILE:gpuzip_engine> $<TARGET_FILE:gpuzip_kernels>
                     $<TARGET_FILE:gpuzip_coder> $<TARGET_FILE:gpuzip_weights>
                     -ljansson -lcrypto -lxxhash -lgomp -lpthread -lm -lcmocka)
    set_tests_properties(test_adaptive_mutations PROPERTIES LABELS slow TIMEOUT 1800)
endif()

# The library over GPUs that are the CPU in disguise.
add_library(gpuzip_fake_cuda STATIC fake_cuda.c)
target_link_libraries(gpuzip_fake_cuda PUBLIC gpuzip_kernels Threads::Threads)
gpuzip_add_host(gpuzip_host_fake gpuzip_fake_cuda fake)
gpuzip_test(test_devices gpuzip_host_fake)
gpuzip_test(test_files gpuzip_host_fake)

# The program over them.
gpuzip_add_program(gpuzip_fake gpuzip_host_fake)
target_sources(gpuzip_fake PRIVATE fake_program.c)
add_test(NAME cli_together
         COMMAND sh ${CMAKE_CURRENT_LIST_DIR}/cli/together.sh $<TARGET_FILE:gpuzip_fake>
                 $<TARGET_FILE:tiny_checkpoint>)
set_tests_properties(cli_together PROPERTIES TIMEOUT 300)

# Real files; data that does not belong to the project is looked for in GPUZIP_DATA.
if(DEFINED ENV{GPUZIP_DATA})
    set(data $ENV{GPUZIP_DATA})
else()
    set(data ${PROJECT_SOURCE_DIR}/../shared/data)
endif()
add_test(NAME oracle
         COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/oracle/oracle.sh $<TARGET_FILE:gpuzip> ${data} sizes)
add_test(NAME corpus COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/corpus.sh $<TARGET_FILE:gpuzip> ${data})
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
    add_test(NAME theory COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/oracle/theory.py
                                 $<TARGET_FILE:gpuzip> ${data})
    # Files of all kinds are not much larger than with xz and zstd.
    add_test(NAME kinds COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/kinds/measure.py
                                $<TARGET_FILE:gpuzip> --check --no-verify --size 10000)
    set_tests_properties(kinds PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900 LABELS slow)
    set_tests_properties(theory PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900 LABELS slow)
endif()
set_tests_properties(oracle corpus PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 3000 LABELS slow)
