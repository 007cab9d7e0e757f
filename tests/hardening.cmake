# SPDX-License-Identifier: Apache-2.0
# Fails where a release binary lacks a hardening that cmake/flags.cmake asks for: a flag can be lost on the
# way without a warning. Run as: cmake -DBINARY=<file> -P hardening.cmake
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND readelf --wide --file-header --program-headers --dynamic --dyn-syms ${BINARY}
                OUTPUT_VARIABLE elf COMMAND_ERROR_IS_FATAL ANY)

# check(WHAT wanted|unwanted REGEX)
function(check what want regex)
  string(REGEX MATCH "${regex}" at "${elf}")
  if((want STREQUAL "wanted" AND NOT at) OR (want STREQUAL "unwanted" AND at))
    message(SEND_ERROR "${BINARY}: ${what}")
  endif()
endfunction()
check("is not position independent (PIE)" wanted "Type: +DYN")
check("has no read-only relocations (relro)" wanted "GNU_RELRO")
check("binds symbols lazily (now)" wanted "BIND_NOW|Flags: [A-Z ]*NOW")
check("names no stack permissions (noexecstack)" wanted "GNU_STACK")
check("has an executable stack" unwanted "GNU_STACK[^\n]* RWE ")
check("has a segment both writable and executable" unwanted "LOAD[^\n]* RWE ")
check("has no stack protector" wanted "__stack_chk_fail")
check("has no fortified call (FORTIFY_SOURCE)" wanted "__[a-z]+_chk[@ ]")
check("searches a folder of the build machine (RPATH)" unwanted "R(UN)?PATH")
