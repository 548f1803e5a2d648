# The tokenizers: a library of their own, so that their tests link nothing else.
add_library(gpuzip_tokenizer STATIC
    tokenizer.c
    tokenizer_blob.c
    tokenizer_encode.c
    tokenizer_import.c
    tokenizer_json.c
    tokenizer_merge.c
    tokenizer_pattern.c
    tokenizer_read.c
    tokenizer_sentencepiece.c
    tokenizer_table.c
    utf8.c)
target_include_directories(gpuzip_tokenizer PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(gpuzip_tokenizer
    PUBLIC gpuzip_status
    PRIVATE PkgConfig::PCRE2 PkgConfig::JANSSON)
