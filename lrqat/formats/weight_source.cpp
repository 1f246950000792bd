#include "lrqat/formats/weight_source.h"

#include "lrqat/base/error.h"
#include "lrqat/formats/checkpoint.h"
#include "lrqat/formats/gguf_part.h"
#include "lrqat/formats/sources.h"

namespace lrqat::formats {
namespace fs = std::filesystem;

namespace {

bool begins_with_gguf(const fs::path& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return bytes.size() >= 4 && std::string_view(reinterpret_cast<const char*>(bytes.data()), 4) == "GGUF";
}

std::string listing(const fs::path& folder) {
  constexpr int kShown = 8;
  std::string text;
  int count = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (++count > kShown) return text + ", …";
    text += (text.empty() ? "" : ", ") + entry.path().filename().string();
  }
  return text.empty() ? "nothing" : text;
}

}  // namespace

fs::path gguf_in(const fs::path& folder) {
  fs::path found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    // mmproj: the eyes of a multimodal model, in a file of their own
    if (!entry.is_regular_file() || !name.ends_with(".gguf") || name.starts_with("mmproj")) continue;
    const fs::path file = first_gguf_part(entry.path());
    if (!found.empty() && file != found) {
      fail(folder.string(), ": holds several GGUF files (", found.filename().string(), ", ", name,
           ", …): name the one to read");
    }
    found = file;
  }
  if (found.empty() || fs::exists(found)) return found;
  fail(found.string(),
       ": is not in the folder, which has other parts of this split GGUF file: fetch all parts");
}

std::vector<float> WeightSource::read(std::string_view name) const {
  const auto sizes = shape(name);
  const std::int64_t elements = shape_product(sizes).value();
  std::vector<float> values(static_cast<std::size_t>(elements));
  if (elements > 0) read_rows(name, 0, sizes.empty() ? 1 : sizes[0], values.data());
  return values;
}

std::unique_ptr<WeightSource> open_weight_source(const fs::path& path) {
  constexpr const char* kExpected =
      "expected a Hugging Face folder (config.json and *.safetensors) or a GGUF file";
  if (!fs::exists(path)) fail(path.string(), ": no such file or folder; ", kExpected);
  if (fs::is_directory(path)) {
    if (fs::is_regular_file(path / "config.json")) return open_huggingface_source(path);
    const fs::path gguf = gguf_in(path);
    if (!gguf.empty()) return open_gguf_source(gguf);
    refuse_other_checkpoints(path);
    fail(path.string(), ": ", kExpected, ", found a folder with ", listing(path));
  }
  if (begins_with_gguf(path)) return open_gguf_source(path);
  refuse_other_checkpoints(path);
  if (path.extension() == ".safetensors") {
    fail(path.string(),
         ": a safetensors file alone has no config; name the folder that holds it and its config.json");
  }
  fail(path.string(), ": ", kExpected, ", found a file that does not begin with \"GGUF\"");
}

}  // namespace lrqat::formats
