# The last place where the built-in model is looked for.
set_property(SOURCE ${CMAKE_SOURCE_DIR}/src/cli/builtin.c APPEND PROPERTY COMPILE_DEFINITIONS
             CAIRN_DATADIR="${CMAKE_INSTALL_FULL_DATADIR}")
