# gpuzip::gpuzip, the shared library, and gpuzip::gpuzip_static.
include(${CMAKE_CURRENT_LIST_DIR}/gpuzipTargets.cmake)
