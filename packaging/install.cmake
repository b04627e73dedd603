# What consumers find the library by, and the manual. The pkg-config file works wherever the whole is moved to.
file(RELATIVE_PATH SBX_PC_TO_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" SBX_PC_TO_PREFIX "${SBX_PC_TO_PREFIX}")
configure_file(packaging/hfsandbox.pc.in ${PROJECT_BINARY_DIR}/hfsandbox.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/hfsandbox.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES packaging/hfsandbox.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
