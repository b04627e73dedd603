# The static agent: built by musl-gcc in a project of its own, because one CMake project has one C compiler.
include(ExternalProject)
find_program(SBX_MUSL_CC NAMES musl-gcc x86_64-linux-musl-gcc aarch64-linux-musl-gcc DOC "The C compiler for the static agent")
if(NOT SBX_MUSL_CC)
  message(FATAL_ERROR "musl-gcc was not found: the agent is linked statically with musl. "
                      "On Debian or Ubuntu: apt-get install musl-tools. Without an agent: -DSBX_BUILD_AGENT=OFF")
endif()
ExternalProject_Add(agent_static
  SOURCE_DIR ${PROJECT_SOURCE_DIR}/core/agent
  BINARY_DIR ${PROJECT_BINARY_DIR}/agent
  CMAKE_ARGS -DCMAKE_C_COMPILER=${SBX_MUSL_CC} -DCMAKE_BUILD_TYPE=MinSizeRel -DSBX_AGENT_OUTPUT=${PROJECT_BINARY_DIR}/bin
             -DSBX_WERROR=${SBX_WERROR} -DSBX_VERSION=${PROJECT_VERSION}
  INSTALL_COMMAND ""
  BUILD_BYPRODUCTS ${PROJECT_BINARY_DIR}/bin/hfsandbox-agent ${PROJECT_BINARY_DIR}/bin/hfsandbox-agent-job
                   ${PROJECT_BINARY_DIR}/bin/hfsandbox-agent-host
  BUILD_ALWAYS ON
  USES_TERMINAL_BUILD OFF)
install(PROGRAMS ${PROJECT_BINARY_DIR}/bin/hfsandbox-agent DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/hfsandbox)
