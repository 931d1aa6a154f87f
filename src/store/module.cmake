# The numbered SQL files become the C table gen/store/migrations.inc.
file(GLOB store_migrations CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/store/migrations/*.sql)
set(store_migrations_inc ${CMAKE_BINARY_DIR}/gen/store/migrations.inc)
add_custom_command(
  OUTPUT ${store_migrations_inc}
  COMMAND ${CMAKE_COMMAND} -DOUT=${store_migrations_inc} "-DSQL=${store_migrations}"
          -P ${CMAKE_SOURCE_DIR}/src/store/migrations/embed.cmake
  DEPENDS ${store_migrations} ${CMAKE_SOURCE_DIR}/src/store/migrations/embed.cmake
  COMMENT "Embedding the store's migrations" VERBATIM)
target_sources(cairn_store PRIVATE ${store_migrations_inc})

# The conformance suite needs cmocka, so it is no part of the library: each backend's test links it.
get_target_property(store_sources cairn_store SOURCES)
list(FILTER store_sources EXCLUDE REGEX "/conformance[a-z_]*\\.c$")
set_target_properties(cairn_store PROPERTIES SOURCES "${store_sources}")
if(NOT CAIRN_FUZZ)
  file(GLOB conformance_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/store/conformance*.c)
  add_library(store_conformance STATIC ${conformance_sources})
  target_link_libraries(store_conformance PUBLIC cairn_store PkgConfig::CMOCKA)
  cmake_language(DEFER CALL target_link_libraries store.sqlite_test PRIVATE store_conformance)
endif()
