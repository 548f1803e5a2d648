# The tokenizers: each test links gpuzip_tokenizer alone.
gpuzip_test(test_tokenizer gpuzip_tokenizer PkgConfig::JANSSON)
gpuzip_test(test_tokenizer_hostile gpuzip_tokenizer)
gpuzip_test(test_tokenizer_import gpuzip_tokenizer)
gpuzip_test(test_tokenizer_merge gpuzip_tokenizer PkgConfig::PCRE2)
gpuzip_test(test_tokenizer_utf8 gpuzip_tokenizer)
gpuzip_fuzz(fuzz_tokenizer gpuzip_tokenizer)

# The golden ids, made again by the reference implementations where they are installed.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
    add_test(NAME golden_tokenizer
             COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/golden_tokenizer.py check)
    set_tests_properties(golden_tokenizer PROPERTIES SKIP_RETURN_CODE 77)
endif()
