# SPDX-License-Identifier: Apache-2.0
# Compiles every kernel for every compute capability and compares registers and spills, as ptxas gives them, with
# kernel_budgets.txt. Fails where a kernel needs more than its budget, where it has none, and where a budget has no
# kernel. Compiling takes minutes; with ccache only what changed is compiled. Run as:
#   cmake -DROOT=<source tree> -DNVCC=<nvcc> -DCCACHE=<ccache or empty> -DSCRATCH=<folder> -DKERNELS=<a.cu;b.cu>
#         -P compile_gates.cmake
# With -DSHOW=1 it prints what it found: kernel, architecture, registers, spills.
cmake_minimum_required(VERSION 3.25)
if(NOT CAPABILITIES)
  set(CAPABILITIES 80 86 89 90 100 120)
endif()
if(NOT BUDGETS)
  set(BUDGETS ${ROOT}/tests/cuda/kernel_budgets.txt)
endif()
if(NOT NVCC OR NOT EXISTS "${NVCC}")
  message(STATUS "not run: no nvcc on this machine")  # the test's SKIP_REGULAR_EXPRESSION
  return()
endif()
file(MAKE_DIRECTORY ${SCRATCH})

set(targets)
foreach(capability ${CAPABILITIES})
  list(APPEND targets -gencode arch=compute_${capability},code=sm_${capability})
endforeach()

# check(KERNEL CAPABILITY REGISTERS SPILLS): against the worst that its budget allows on any compute capability.
set(failures "")
set(seen)
function(check kernel capability registers spills)
  if(SHOW)
    message("${kernel} sm_${capability} ${registers} ${spills}")
  endif()
  if(NOT kernel IN_LIST budget_names)
    string(APPEND failures "  ${kernel} has no budget; on sm_${capability} it takes ${registers} registers and spills ${spills} bytes\n")
  elseif(registers GREATER budget_registers_${kernel} OR spills GREATER budget_spills_${kernel})
    string(APPEND failures "  ${kernel} on sm_${capability}: ${registers} registers and ${spills} bytes of spills, "
                           "budget ${budget_registers_${kernel}} and ${budget_spills_${kernel}}\n")
  endif()
  set(failures "${failures}" PARENT_SCOPE)
endfunction()

file(STRINGS ${BUDGETS} lines REGEX "^[a-z]")
set(budget_names)
foreach(line ${lines})
  if(NOT line MATCHES "^([^ ]+) +([0-9]+) +([0-9]+)$")
    message(FATAL_ERROR "kernel_budgets.txt: cannot read '${line}'")
  endif()
  list(APPEND budget_names "${CMAKE_MATCH_1}")
  set(budget_registers_${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
  set(budget_spills_${CMAKE_MATCH_1} ${CMAKE_MATCH_3})
endforeach()

foreach(source ${KERNELS})
  get_filename_component(name ${source} NAME_WE)
  execute_process(
    COMMAND ${CCACHE} ${NVCC} -std=c++17 -O3 --fmad=false -Werror=all-warnings -I${ROOT} ${targets} -Xptxas -v
            -c ${source} -o ${SCRATCH}/${name}.o
    WORKING_DIRECTORY ${ROOT} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    string(APPEND failures "  ${source} does not compile:\n${output}\n")
    continue()
  endif()
  string(REPLACE ";" "," output "${output}")
  string(REPLACE "\n" ";" output "${output}")
  set(kernel "")
  foreach(line ${output})
    if(line MATCHES "Compiling entry function '([^']+)' for 'sm_([0-9]+)'")
      set(mangled ${CMAKE_MATCH_1})
      set(capability ${CMAKE_MATCH_2})
      # Itanium names: ..4cuda<length><name>[I<arguments>E]..; arguments are Li64E, Lb1E, or types.
      string(REGEX REPLACE "^_ZN3ttt4cuda[0-9]+" "" kernel "${mangled}")
      if(kernel MATCHES "^([a-z0-9_]+)I(.*)EEv")
        set(kernel "${CMAKE_MATCH_1}")
        string(REGEX MATCHALL "L[a-z]+[0-9]+E" arguments "${CMAKE_MATCH_2}E")
        list(TRANSFORM arguments REPLACE "L[a-z]+([0-9]+)E" "\\1")
        list(JOIN arguments "," arguments)
        if(arguments)  # of types alone: all under one name
          set(kernel "${kernel}<${arguments}>")
        endif()
      else()
        string(REGEX REPLACE "ENS0_.*$" "" kernel "${kernel}")
      endif()
    elseif(line MATCHES "([0-9]+) bytes spill stores, ([0-9]+) bytes spill loads")
      math(EXPR spills "${CMAKE_MATCH_1} + ${CMAKE_MATCH_2}")
    elseif(line MATCHES "Used ([0-9]+) registers" AND kernel)
      check("${kernel}" ${capability} ${CMAKE_MATCH_1} ${spills})
      list(APPEND seen "${kernel}")
      set(kernel "")
    endif()
  endforeach()
endforeach()

foreach(name ${budget_names})
  if(NOT name IN_LIST seen)
    string(APPEND failures "  ${name} has a budget, but no such kernel was compiled\n")
  endif()
endforeach()
list(LENGTH seen count)
if(failures)
  message(FATAL_ERROR "kernels against their budgets:\n${failures}")
endif()
message(STATUS "${count} kernels, each for one of compute capabilities ${CAPABILITIES}: within their budgets")
