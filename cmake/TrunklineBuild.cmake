# Compiler settings, and the three kinds of target that the tree is made of.

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()
add_link_options(-Wl,--as-needed)

set(TRUNKLINE_SANITIZE "" CACHE STRING "address,undefined or thread")
if(TRUNKLINE_SANITIZE)
  # GCC takes the sanitizers' own paths for reads of what is not set.
  add_compile_options(-O1 -fsanitize=${TRUNKLINE_SANITIZE} -fno-omit-frame-pointer
                      -Wno-maybe-uninitialized)
  add_link_options(-fsanitize=${TRUNKLINE_SANITIZE})
endif()
if(TRUNKLINE_SANITIZE STREQUAL "thread")
  set(tl_test_environment TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/cmake/tsan.supp)
else()
  set(tl_test_environment LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/cmake/lsan.supp)
endif()

# tl_library(NAME SOURCES... [LIBS ...]): a static library of our own code.
function(tl_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR}/services
                                            ${CMAKE_SOURCE_DIR}/services/common)
  target_compile_options(${name} PRIVATE -Wall -Wextra -Werror -Wno-missing-field-initializers)
  target_link_libraries(${name} PUBLIC ${ARG_LIBS})
endfunction()

# What a running platform needs: every tl_program, no tests and no benchmarks.
add_custom_target(programs)
# What `ctest -L unit` runs: every tl_test of that label, with the programs that they start.
add_custom_target(unit_tests)

# tl_program(NAME SOURCES... [LIBS ...]): an executable in build/bin. NOT_SHIPPED: a test or tool.
function(tl_program name)
  cmake_parse_arguments(ARG "NOT_SHIPPED" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/services
                                             ${CMAKE_SOURCE_DIR}/services/common)
  target_compile_options(${name} PRIVATE -Wall -Wextra -Werror -Wno-missing-field-initializers)
  target_link_libraries(${name} PRIVATE ${ARG_LIBS})
  file(RELATIVE_PATH folder ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  if(NOT ARG_NOT_SHIPPED AND NOT folder MATCHES "(^|/)(bench|tests)(/|$)")
    add_dependencies(programs ${name})
  endif()
endfunction()

# tl_test(NAME SOURCES... [LIBS ...] [LABEL unit|integration]): a GoogleTest program.
function(tl_test name)
  cmake_parse_arguments(ARG "" "LABEL" "SOURCES;LIBS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  tl_program(${name} NOT_SHIPPED SOURCES ${ARG_SOURCES} LIBS ${ARG_LIBS} GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  if(ARG_LABEL STREQUAL "unit")
    add_dependencies(unit_tests ${name})
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                       PROPERTIES LABELS ${ARG_LABEL}
                       ENVIRONMENT ${tl_test_environment})
endfunction()
