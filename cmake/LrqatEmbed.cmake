# lrqat_embed_texts(TARGET folder): the *.json files of a folder as a table of names and texts in TARGET, the
# definition of lrqat::eval::embedded_task_files(). Remade by the next build when one of them changes.
function(lrqat_embed_texts target folder)
  file(GLOB files CONFIGURE_DEPENDS "${folder}/*.json")
  set_property(DIRECTORY "${PROJECT_SOURCE_DIR}" APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${files})
  set(rows "")
  foreach(file ${files})
    file(READ "${file}" text)
    get_filename_component(name "${file}" NAME_WE)
    string(APPEND rows "      {\"${name}\", R\"json(${text})json\"},\n")
  endforeach()
  set(output "${PROJECT_BINARY_DIR}/embedded/task_files.cpp")
  file(CONFIGURE OUTPUT "${output}" @ONLY NEWLINE_STYLE UNIX CONTENT
"#include \"lrqat/eval/task.h\"

namespace lrqat::eval {

std::vector<EmbeddedFile> embedded_task_files() {
  return {
@rows@  };
}

}  // namespace lrqat::eval
")
  target_sources(${target} PRIVATE "${output}")
endfunction()
