# SPDX-License-Identifier: Apache-2.0
# One INTERFACE target that every target of ours links: language level, warnings, hardening, sanitizers.
include(CheckPIESupported)
check_pie_supported()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

find_program(TTT_CCACHE ccache DOC "Compiler cache, used where it is installed")
if(TTT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${TTT_CCACHE})
endif()

# Eight sources of a folder at a time: what they include is read once. From nothing, on two cores, the release
# preset builds in 370 s instead of 692 s. Private names are therefore unique within a folder.
set(CMAKE_UNITY_BUILD_BATCH_SIZE 8)

add_library(ttt_flags INTERFACE)
target_compile_features(ttt_flags INTERFACE cxx_std_20)
target_include_directories(ttt_flags INTERFACE ${PROJECT_SOURCE_DIR})
# No fused multiply-add behind our back: a sum has the same bits in a scalar tail and in a vector body.
target_compile_options(ttt_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
  -Woverloaded-virtual -ffp-contract=off $<$<BOOL:${TTT_WERROR}>:-Werror>)
if(CMAKE_UNITY_BUILD)
  target_compile_options(ttt_flags INTERFACE
    $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)  # takes the sources of a batch for headers
endif()
# as-needed: sentencepiece's pkg-config file also names its trainer, which we never call.
target_link_options(ttt_flags INTERFACE -Wl,--as-needed)

if(TTT_SANITIZE)
  target_compile_options(ttt_flags INTERFACE
    -fsanitize=${TTT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)  # wrong under instrumentation in g++ 12
  target_link_options(ttt_flags INTERFACE -fsanitize=${TTT_SANITIZE})
  if(TTT_SANITIZE MATCHES "address,undefined")
    # These three take a third of the compiler's time. What null and object-size find, the address sanitizer finds
    # too, most of it; a wrong dynamic type (vptr) is not looked for.
    target_compile_options(ttt_flags INTERFACE -fno-sanitize=null,vptr,object-size)
  endif()
  if(TTT_SANITIZE MATCHES "thread")
    # g++'s ThreadSanitizer does not see std::atomic_thread_fence, which Asio's fenced blocks rely on.
    target_compile_definitions(ttt_flags INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK)
    target_compile_options(ttt_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
  endif()
else()
  # FORTIFY_SOURCE needs an optimiser and would hide findings from the sanitizers.
  set(optimised $<NOT:$<CONFIG:Debug>>)
  target_compile_definitions(ttt_flags INTERFACE _GLIBCXX_ASSERTIONS)
  target_compile_options(ttt_flags INTERFACE
    -fstack-protector-strong -fstack-clash-protection
    $<IF:$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},x86_64>,-fcf-protection=full,-mbranch-protection=standard>
    $<${optimised}:-U_FORTIFY_SOURCE> $<${optimised}:-D_FORTIFY_SOURCE=3>)
  target_link_options(ttt_flags INTERFACE
    -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,separate-code)
endif()
if(TTT_FUZZ)
  target_compile_options(ttt_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# ttt_library(NAME SOURCES ... HEADERS ...): one folder, one static library. Headers form a file set, so
# that the target all_verify_interface_header_sets compiles each of them alone.
function(ttt_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;HEADERS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  # A source includes its own header first (tests/house.cmake), which proves that header whole. Those without a
  # source are compiled alone, by all_verify_interface_header_sets.
  set(proven)
  set(alone)
  foreach(header ${arg_HEADERS})
    string(REGEX REPLACE "h$" "cpp" source ${header})
    if(source IN_LIST arg_SOURCES)
      list(APPEND proven ${header})
    else()
      list(APPEND alone ${header})
    endif()
  endforeach()
  target_sources(${name}
    PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${proven}
           FILE_SET alone TYPE HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${alone})
  set_target_properties(${name} PROPERTIES INTERFACE_HEADER_SETS_TO_VERIFY alone)
  target_link_libraries(${name} PUBLIC ttt_flags)
endfunction()
