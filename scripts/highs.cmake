# Compiles HiGHS several source files at a time, which reads its headers once for all of them, as
# HiGHS itself asks for on some systems. Results do not change. Where CMAKE_TOOLCHAIN_FILE is set
# already, or on other systems than Unix, HiGHS is compiled as it comes.
if(CMAKE_HOST_UNIX)
  set(CMAKE_UNITY_BUILD ON)
  set(CMAKE_UNITY_BUILD_BATCH_SIZE 40)
  set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG" CACHE STRING "Flags of the release build")
  # Given a toolchain file, nobody names the compilers but CC and CXX, and HiGHS looks for clang.
  if(NOT DEFINED ENV{CC})
    set(CMAKE_C_COMPILER cc)
  endif()
  if(NOT DEFINED ENV{CXX})
    set(CMAKE_CXX_COMPILER c++)
  endif()
endif()
