# The Unicode tables of regular expressions are made at build time.
set(grammar_unicode ${CMAKE_BINARY_DIR}/gen/grammar/unicode_tables.inc)
add_custom_command(
  OUTPUT ${grammar_unicode}
  COMMAND Python3::Interpreter ${CMAKE_SOURCE_DIR}/tools/gen_grammar_unicode.py ${grammar_unicode}
  DEPENDS ${CMAKE_SOURCE_DIR}/tools/gen_grammar_unicode.py
  COMMENT "Generating the Unicode tables of the grammars"
  VERBATIM)
target_sources(cairn_grammar PRIVATE ${grammar_unicode})
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/grammar/unicode.c PROPERTIES
  COMPILE_OPTIONS "-I${CMAKE_BINARY_DIR}/gen/grammar" OBJECT_DEPENDS ${grammar_unicode})

# Samples from grammars, for tests/grammar.
if(NOT CAIRN_FUZZ)
  add_executable(grammar_sample ${CMAKE_SOURCE_DIR}/tests/grammar/grammar_sample.c)
  target_link_libraries(grammar_sample PRIVATE cairn_grammar)
endif()
