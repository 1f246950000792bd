# cmake --install: the program, the headers, the static libraries (all folders but cli), and a package, so that
# another project needs find_package(lrqat) and lrqat::lrqat, or one of lrqat::quant, lrqat::model, … alone.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

get_property(library_targets GLOBAL PROPERTY LRQAT_TARGETS)
list(REMOVE_ITEM library_targets lrqat_cli)  # prints and parses: the program's own
add_library(lrqat_all INTERFACE)
target_link_libraries(lrqat_all INTERFACE ${library_targets})
set_target_properties(lrqat_all PROPERTIES EXPORT_NAME lrqat)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/lrqat)
install(TARGETS ${library_targets} lrqat_all EXPORT lrqatTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
# The program must find torch's libraries where they were at build time. The path is final when it is linked: CMake would
# fill up a shorter one with empty entries, for which the loader takes the working directory.
set_target_properties(lrqat PROPERTIES INSTALL_RPATH "${LRQAT_TORCH_ROOT}/lib;${LRQAT_TORCH_ROOT}/../torch.libs"
                                       BUILD_WITH_INSTALL_RPATH ON)
install(TARGETS lrqat RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY "${PROJECT_SOURCE_DIR}/lrqat" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h" PATTERN "cli" EXCLUDE)
install(EXPORT lrqatTargets NAMESPACE lrqat:: DESTINATION ${package_dir})

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/lrqatConfig.cmake.in" "${PROJECT_BINARY_DIR}/lrqatConfig.cmake"
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file("${PROJECT_BINARY_DIR}/lrqatConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/lrqatConfig.cmake" "${PROJECT_BINARY_DIR}/lrqatConfigVersion.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/FindTorchWheel.cmake" DESTINATION ${package_dir})
