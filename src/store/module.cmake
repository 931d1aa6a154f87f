# The numbered SQL files of a backend become the C table gen/store/NAME.
function(store_migrations name folder)
  file(GLOB sql CONFIGURE_DEPENDS ${folder}/*.sql)
  set(inc ${CMAKE_BINARY_DIR}/gen/store/${name})
  add_custom_command(
    OUTPUT ${inc}
    COMMAND ${CMAKE_COMMAND} -DOUT=${inc} "-DSQL=${sql}" -P ${CMAKE_SOURCE_DIR}/src/store/migrations/embed.cmake
    DEPENDS ${sql} ${CMAKE_SOURCE_DIR}/src/store/migrations/embed.cmake
    COMMENT "Embedding the store's migrations" VERBATIM)
  target_sources(cairn_store PRIVATE ${inc})
endfunction()
store_migrations(migrations.inc ${CMAKE_SOURCE_DIR}/src/store/migrations)
store_migrations(postgres_migrations.inc ${CMAKE_SOURCE_DIR}/src/store/migrations/postgres)
target_compile_definitions(cairn_store PRIVATE CAIRN_POSTGRES=1)

# The conformance suite needs cmocka, so it is no part of the library: each backend's test links it.
get_target_property(store_sources cairn_store SOURCES)
list(FILTER store_sources EXCLUDE REGEX "/conformance[a-z_]*\\.c$")
set_target_properties(cairn_store PROPERTIES SOURCES "${store_sources}")
if(NOT CAIRN_FUZZ)
  file(GLOB conformance_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/store/conformance*.c)
  add_library(store_conformance STATIC ${conformance_sources})
  target_link_libraries(store_conformance PUBLIC cairn_store PkgConfig::CMOCKA)
  foreach(test sqlite_test postgres_test blob_test blob_s3_test)
    if(EXISTS ${CMAKE_SOURCE_DIR}/src/store/${test}.c)
      cmake_language(EVAL CODE
        "cmake_language(DEFER CALL target_link_libraries store.${test} PRIVATE store_conformance)")
    endif()
  endforeach()
  # 77: the packages of the S3 server for tests are not installed, or no PostgreSQL was given.
  if(EXISTS ${CMAKE_SOURCE_DIR}/src/store/blob_s3_test.c)
    cmake_language(DEFER CALL set_tests_properties store.blob_s3_test PROPERTIES SKIP_RETURN_CODE 77)
  endif()
  cmake_language(DEFER CALL set_tests_properties store.postgres_test PROPERTIES SKIP_RETURN_CODE 77)
endif()
