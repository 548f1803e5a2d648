# The papers' protocol (tests/reproduce/README.md); DATA as in cli.cmake. The short form takes seconds; the whole
# mathematics set, which is not in DATA, half an hour: only where the environment has it.
if(DEFINED ENV{GPUZIP_DATA})
    set(data $ENV{GPUZIP_DATA})
else()
    set(data ${PROJECT_SOURCE_DIR}/../shared/data)
endif()
set(reproduce sh ${CMAKE_CURRENT_SOURCE_DIR}/reproduce/reproduce.sh $<TARGET_FILE:gpuzip> ${data})
add_test(NAME reproduce COMMAND ${reproduce})
set_tests_properties(reproduce PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900)
if(DEFINED ENV{GPUZIP_MATH})
    add_test(NAME reproduce_slow COMMAND ${reproduce} all)
    set_tests_properties(reproduce_slow PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 7200 LABELS slow
                         ENVIRONMENT "GPUZIP_MATH=$ENV{GPUZIP_MATH}")
endif()
