# SPDX-License-Identifier: Apache-2.0
# Targets for people, outside every build: `format` rewrites the sources, `tidy` reads them with clang-tidy.
find_program(TTT_CLANG_FORMAT NAMES clang-format-14 clang-format)
if(TTT_CLANG_FORMAT)
  add_custom_target(format
    COMMAND git ls-files -z --cached --others --exclude-standard *.h *.cpp | xargs -0 ${TTT_CLANG_FORMAT} -i
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} COMMENT "clang-format over every source")
endif()

find_program(TTT_RUN_CLANG_TIDY NAMES run-clang-tidy-14 run-clang-tidy)
if(TTT_RUN_CLANG_TIDY)
  add_custom_target(tidy
    COMMAND ${TTT_RUN_CLANG_TIDY} -quiet -p ${PROJECT_BINARY_DIR}
            "^${PROJECT_SOURCE_DIR}/(weights|tokenizer|engine|cpu|cuda|server|cli|tests|benchmarks)/"
    USES_TERMINAL VERBATIM)
endif()
