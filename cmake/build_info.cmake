# SPDX-License-Identifier: Apache-2.0
# The version stamp: ttt_build_info, a library of one generated file. Each build asks git for the commit and
# rewrites that file only where the answer changed, so a new commit compiles one file and links again.
# The first half runs at configure time, the second (cmake -P) at build time.
if(NOT CMAKE_SCRIPT_MODE_FILE)
  set(stamp ${PROJECT_BINARY_DIR}/generated/build_info.cpp)
  add_custom_target(ttt_build_stamp
    COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${PROJECT_SOURCE_DIR} -DOUTPUT=${stamp}
            -DVERSION=${PROJECT_VERSION} -DBUILD_TYPE=$<CONFIG> -DSANITIZE=${TTT_SANITIZE}
            "-DCOMPILER=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
            -P ${CMAKE_CURRENT_LIST_FILE}
    BYPRODUCTS ${stamp} VERBATIM COMMENT "Reading the commit")
  ttt_library(ttt_build_info SOURCES ${stamp} HEADERS cli/build_info.h)
  add_dependencies(ttt_build_info ttt_build_stamp)
  return()
endif()

# A release archive has no .git: git archive writes the commit into VERSION_STAMP (see .gitattributes).
set(COMMIT unknown)
file(STRINGS ${SOURCE_DIR}/cmake/VERSION_STAMP archived REGEX "^[0-9a-f]+$")
find_package(Git QUIET)
if(archived)
  set(COMMIT ${archived})
elseif(GIT_FOUND AND EXISTS ${SOURCE_DIR}/.git)
  execute_process(
    COMMAND ${GIT_EXECUTABLE} --no-optional-locks -c safe.directory=${SOURCE_DIR}
            describe --always --exclude=* --dirty=+dirty
    WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE described RESULT_VARIABLE failed
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT failed)
    set(COMMIT ${described})
  endif()
endif()
configure_file(${SOURCE_DIR}/cli/build_info.cpp.in ${OUTPUT} @ONLY)
