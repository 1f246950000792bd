#include "lrqat/model/output.h"

#include <algorithm>
#include <fstream>
#include <string_view>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/json.h"
#include "lrqat/base/sha256.h"
#include "lrqat/formats/gguf.h"
#include "lrqat/formats/safetensors.h"
#include "lrqat/model/converted.h"
#include "lrqat/model/tokenizer_files.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;

bool same(const fs::path& a, const fs::path& b) {
  std::error_code code;
  return fs::equivalent(a, b, code) && !code;
}

// Whether `path` lies in `folder`, at any depth; links are followed.
bool lies_in(const fs::path& path, const fs::path& folder) {
  std::error_code code;
  fs::path at = fs::canonical(path, code);
  while (!code && at.has_relative_path()) {
    at = at.parent_path();
    if (same(at, folder)) return true;
  }
  return false;
}

// Whether one of the folder's files is `path` under another name.
bool has_file(const fs::path& folder, const fs::path& path) {
  std::error_code code;
  for (auto entry = fs::recursive_directory_iterator(folder, code);
       !code && entry != fs::recursive_directory_iterator(); entry.increment(code)) {
    if (same(entry->path(), path)) return true;
  }
  return false;
}

void check_is_no_input(const fs::path& out, const std::vector<fs::path>& inputs) {
  for (const fs::path& input : inputs) {
    if (same(out, input))
      fail(out.string(),
           ": is the model itself, or what its run was made with, which is never replaced; give ",
           "another `out`");
    if (fs::is_directory(input) && (lies_in(out, input) || has_file(input, out))) {
      fail(out.string(), ": is a part of ", input.string(),
           ", which the model is read from and which is never replaced; give another `out`");
    }
    if (fs::is_directory(out) && lies_in(input, out)) {
      fail(out.string(), ": holds ", input.string(),
           ", which the model is read from and which is never replaced; give another `out`");
    }
  }
}

// Whether the file's first line is a row of sampled text.
bool wrote_text(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  const auto row = try_parse_json(line);
  return row && row->is_object() && row->contains(kSampledMark);
}

bool wrote_file(const fs::path& path) {
  if (!fs::is_regular_file(path)) return false;
  if (wrote_text(path)) return true;
  try {
    const formats::GgufFile file(path);
    GgufMark mark;
    for (const formats::GgufTensor& tensor : file.tensors()) mark.add(tensor.name, tensor.type, tensor.shape);
    return file.get_or<std::string>(kGgufMark, "") == mark.value();
  } catch (const Error&) {  // no GGUF file
    return false;
  }
}

bool has_export_mark(const fs::path& file_or_folder) {
  try {
    return formats::ShardedSafetensors(file_or_folder).metadata().contains(kExportMark);
  } catch (const Error&) {  // no safetensors
    return false;
  }
}

bool is_converted(const fs::path& folder) {
  try {
    return is_converted_folder(folder);
  } catch (const Error&) {  // a config.json of something else
    return false;
  }
}

bool is_peft(const fs::path& folder) {
  return fs::is_regular_file(folder / "adapter_model.safetensors") && has_export_mark(folder / "base");
}

// model.safetensors, model-00001-of-00002.safetensors or their index, and nothing that merely begins so.
bool is_tensor_file(std::string_view name) {
  constexpr std::string_view kShard = "model-00000-of-00000.safetensors";  // 0: any digit
  if (name == "model.safetensors" || name == "model.safetensors.index.json") return true;
  return name.size() == kShard.size() &&
         std::equal(name.begin(), name.end(), kShard.begin(),
                    [](char c, char p) { return p == '0' ? c >= '0' && c <= '9' : c == p; });
}

// The first thing in the folder that lrqat does not write; empty: there is none.
std::string foreign_entry(const fs::path& folder, bool peft) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool base = peft && name == "base" && entry.is_directory();
    const std::string inside = base ? foreign_entry(entry.path(), false) : "";
    if (!inside.empty()) return (fs::path(name) / inside).string();
    if (base || (peft && (name == "adapter_config.json" || name == "adapter_model.safetensors"))) continue;
    if (entry.is_directory() || (!is_tensor_file(name) && name != "config.json" && !is_carried_file(name)))
      return name;
  }
  return {};
}

void check_is_own_folder(const fs::path& out) {
  if (fs::is_empty(out)) return;
  const bool peft = is_peft(out);
  if (!peft && !is_converted(out) && !has_export_mark(out)) {
    fail(out.string(),
         ": is not a folder that lrqat convert or export wrote, so it is not replaced; give another `out`");
  }
  const std::string foreign = foreign_entry(out, peft);
  if (foreign.empty()) return;
  fail(out.string(), ": holds ", foreign,
       ", which lrqat did not write, so the folder is not replaced; give another `out`, or move that away");
}

}  // namespace

void GgufMark::add(const std::string& name, formats::GgmlType type, const std::vector<std::int64_t>& shape) {
  text_ += concat(name, " ", static_cast<std::uint32_t>(type));
  for (const std::int64_t size : shape) text_ += concat(" ", size);
  text_ += "\n";
}

std::string GgufMark::value() const {
  return sha256_hex(std::as_bytes(std::span(text_.data(), text_.size())));
}

void check_output(const fs::path& out, OutputKind kind, bool replace, const std::vector<fs::path>& inputs) {
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(out, ignored))) return check_creatable(out);
  if (!fs::exists(out, ignored)) {
    fail(out.string(),
         ": is a symbolic link to something that is not there; give another `out` or remove it");
  }
  check_is_no_input(out, inputs);
  if (kind == OutputKind::file && fs::is_directory(out))
    fail(out.string(), " is a folder: `out` takes the name of a file, like model.gguf");
  if (kind == OutputKind::folder && !fs::is_directory(out))
    fail(out.string(), " is a file: `out` takes the name of a folder");
  if (!replace) fail(out.string(), " exists: give another `out`, or `force` to replace it");
  if (kind == OutputKind::folder) return check_is_own_folder(out);
  if (wrote_file(out)) return;
  fail(out.string(), ": is not a file that this version of lrqat wrote, so it is not replaced; give ",
       "another `out`, or remove it first");
}

std::vector<fs::path> inputs_of(const OpenedModel& model) {
  std::vector<fs::path> inputs{model.path, model.tokenizer_path};
  if (model.source != nullptr) inputs.emplace_back(model.source->path());
  inputs.insert(inputs.end(), model.other_inputs.begin(), model.other_inputs.end());
  return inputs;
}

}  // namespace lrqat::model
