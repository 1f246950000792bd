#include "lrqat/base/json.h"

#include "lrqat/base/file.h"

namespace lrqat {

Json parse_json(std::string_view text, const std::string& where) {
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    fail(where, ": not valid JSON: ", error.what());
  }
}

Json read_json_file(const std::filesystem::path& path) {
  return parse_json(read_text_file(path), path.string());
}

}  // namespace lrqat
