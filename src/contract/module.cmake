# The tables and the text of /openapi.json come from contract/ at build time.
set(contract_gen ${CMAKE_BINARY_DIR}/gen)
set(contract_made ${contract_gen}/contract_schemas.inc ${contract_gen}/contract_operations.inc
    ${contract_gen}/contract_openapi.json)
add_custom_command(
  OUTPUT ${contract_made}
  COMMAND Python3::Interpreter ${CMAKE_SOURCE_DIR}/contract/gen.py ${CMAKE_SOURCE_DIR}/contract/openai.json
          ${CMAKE_SOURCE_DIR}/contract/extensions.json ${contract_gen}
  DEPENDS ${CMAKE_SOURCE_DIR}/contract/gen.py ${CMAKE_SOURCE_DIR}/contract/openai.json
          ${CMAKE_SOURCE_DIR}/contract/extensions.json
  COMMENT "Generating the contract tables"
  VERBATIM)
target_sources(cairn_contract PRIVATE ${contract_made})
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/contract/openapi.c PROPERTIES
  COMPILE_DEFINITIONS "CONTRACT_OPENAPI=\"${contract_gen}/contract_openapi.json\""
  OBJECT_DEPENDS ${contract_gen}/contract_openapi.json)

# Prints the negative cases of tests/contract_negative as JSON lines, for the driver of the black-box suite.
if(NOT CAIRN_FUZZ)
  add_executable(contract_cases ${CMAKE_SOURCE_DIR}/tests/contract_negative/contract_cases.c)
  target_link_libraries(contract_cases PRIVATE cairn_contract)
endif()
