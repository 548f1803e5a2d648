# The program as a user meets it. Each script is told the program's path.
add_executable(tiny_checkpoint ${CMAKE_CURRENT_LIST_DIR}/cli/tiny_checkpoint_main.c)
foreach(topic format packed streams targets sources several damage names signals terminal usage reports models cache
              experts explain explain_browser)
    add_test(NAME cli_${topic}
             COMMAND sh ${CMAKE_CURRENT_LIST_DIR}/cli/${topic}.sh $<TARGET_FILE:gpuzip>
                     $<TARGET_FILE:tiny_checkpoint>)
    set_tests_properties(cli_${topic} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900)
endforeach()
