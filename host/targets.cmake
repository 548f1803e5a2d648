# Facts of the product's targets, so that no test and no installed library names a source's folder
# or a library's parts.

# gpuzip_sources(OUT TARGET...): the source files of targets, absolute.
function(gpuzip_sources out)
    set(all "")
    foreach(target ${ARGN})
        get_target_property(sources ${target} SOURCES)
        get_target_property(folder ${target} SOURCE_DIR)
        foreach(source ${sources})
            if(NOT source MATCHES "^\\$<")
                cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${folder} NORMALIZE)
                list(APPEND all ${source})
            endif()
        endforeach()
    endforeach()
    set(${out} ${all} PARENT_SCOPE)
endfunction()

# gpuzip_layers(OUT TARGET...): the static libraries of the product that targets are linked from,
# themselves included, in the order in which a linker takes them.
function(gpuzip_layers out)
    set(order "")
    foreach(target ${ARGN})
        if(target MATCHES "^\\$<LINK_ONLY:(.*)>$")
            set(target ${CMAKE_MATCH_1})
        endif()
        if(NOT target MATCHES "^gpuzip_" OR NOT TARGET ${target})
            continue()
        endif()
        get_target_property(type ${target} TYPE)
        get_target_property(libraries ${target} INTERFACE_LINK_LIBRARIES)
        if(libraries)
            gpuzip_layers(below ${libraries})
            list(REMOVE_ITEM order ${below})
            list(APPEND order ${below})
        endif()
        if(type STREQUAL STATIC_LIBRARY)
            list(REMOVE_ITEM order ${target})
            list(PREPEND order ${target})
        endif()
    endforeach()
    set(${out} ${order} PARENT_SCOPE)
endfunction()

# gpuzip_archives(OUT TARGET...): their files, for a command line of a test.
function(gpuzip_archives out)
    gpuzip_layers(layers ${ARGN})
    list(TRANSFORM layers REPLACE "(.+)" "$<TARGET_FILE:\\1>")
    set(${out} ${layers} PARENT_SCOPE)
endfunction()

# gpuzip_includes(OUT TARGET): the -I options with which TARGET is compiled; to be used in quotes
# with COMMAND_EXPAND_LISTS.
function(gpuzip_includes out target)
    set(${out} "-I$<JOIN:$<TARGET_PROPERTY:${target},INCLUDE_DIRECTORIES>,;-I>" PARENT_SCOPE)
endfunction()
