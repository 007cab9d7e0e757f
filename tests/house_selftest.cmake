# SPDX-License-Identifier: Apache-2.0
# Plants violations in a scratch tree and fails where layering.cmake or house.cmake does not report each of
# them. Run as: cmake -DSCRATCH=<folder to overwrite> -P house_selftest.cmake
cmake_minimum_required(VERSION 3.25)
set(spdx "// SPDX-License-Identifier: Apache-2.0\n")

# expect(SCRIPT MESSAGE): the script passes on the scratch tree (empty MESSAGE) or fails and says MESSAGE.
function(expect script wanted)
  execute_process(COMMAND ${CMAKE_COMMAND} -DROOT=${SCRATCH} -P ${CMAKE_CURRENT_LIST_DIR}/${script}
                  RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE report)
  string(REGEX REPLACE "[ \n]+" " " report "${report}")  # CMake folds long messages
  string(FIND "${report}" "${wanted}" at)
  if(wanted STREQUAL "" AND failed)
    message(SEND_ERROR "${script} refuses a clean tree: ${report}")
  elseif(NOT wanted STREQUAL "" AND (NOT failed OR at EQUAL -1))
    message(SEND_ERROR "${script} does not report '${wanted}'; it said: ${report}")
  endif()
endfunction()

file(REMOVE_RECURSE ${SCRATCH})
file(WRITE ${SCRATCH}/weights/tensor.h "${spdx}#include <span>\n")
file(WRITE ${SCRATCH}/engine/model.h "${spdx}#include \"weights/tensor.h\"\n")
file(WRITE ${SCRATCH}/cpu/forward.cpp "${spdx}#include \"engine/model.h\"\n#include <CLI/CLI.hpp>\n")
file(WRITE ${SCRATCH}/cli/main.cpp "${spdx}#include \"engine/model.h\"\n#include <CLI/CLI.hpp>\n")
expect(layering.cmake "")
expect(house.cmake "")

file(WRITE ${SCRATCH}/weights/up.cpp "${spdx}#include \"engine/model.h\"\n")
expect(layering.cmake "weights/up.cpp includes \"engine/model.h\"")
file(WRITE ${SCRATCH}/weights/up.cpp "${spdx}  #  include \"tensor.h\"\n")
expect(layering.cmake "weights/up.cpp includes \"tensor.h\"")
file(WRITE ${SCRATCH}/weights/up.cpp "${spdx}#include \"weights/absent.h\"\n")
expect(layering.cmake "weights/up.cpp includes \"weights/absent.h\", which is not in the tree")
file(REMOVE ${SCRATCH}/weights/up.cpp)
file(WRITE ${SCRATCH}/cuda/sibling.cu "${spdx}#include \"cpu/forward.h\"\n")
expect(layering.cmake "cuda/sibling.cu includes \"cpu/forward.h\"")
file(REMOVE ${SCRATCH}/cuda/sibling.cu)
expect(layering.cmake "")

file(WRITE ${SCRATCH}/engine/bare.cpp "int x;\nint y;\n${spdx}")
expect(house.cmake "engine/bare.cpp does not begin with its SPDX line")
file(WRITE ${SCRATCH}/engine/bare.cpp "${spdx}#include <CLI/CLI.hpp>\n")
expect(house.cmake "<CLI/CLI.hpp> is included in 3 files")
file(REMOVE ${SCRATCH}/engine/bare.cpp)
file(WRITE ${SCRATCH}/engine/model.cpp "${spdx}#include <span>\n#include \"engine/model.h\"\n")
expect(house.cmake "engine/model.cpp does not include engine/model.h first")
file(WRITE ${SCRATCH}/engine/model.cpp "${spdx}#include \"engine/model.h\"\n#include <span>\n")
expect(house.cmake "")
file(WRITE ${SCRATCH}/engine/heavy.h "${spdx}#include <spdlog/spdlog.h>\n")
expect(house.cmake "engine/heavy.h is a header and includes <spdlog/spdlog.h>")
