#include "lrqat/formats/checkpoint.h"

#include <algorithm>
#include <array>
#include <optional>

#include "lrqat/base/error.h"
#include "lrqat/formats/messages.h"

namespace lrqat::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kBase = "model.";
constexpr std::string_view kHead = "lm_head.";
constexpr std::string_view kEmbeddingWeight = "model.embed_tokens.weight";
constexpr std::string_view kHeadWeight = "lm_head.weight";
// Every family has it, and no tower for images: what stands before it stands before all of the decoder.
constexpr std::string_view kAnchor = "layers.0.input_layernorm.weight";

// Parts of a name that wrappers put between: torch.compile, FSDP, activation checkpoints, DDP, Opacus.
constexpr std::array<std::string_view, 5> kWrappers{"_orig_mod", "_fsdp_wrapped_module",
                                                    "_checkpoint_wrapped_module", "module", "_module"};

std::string without_wrappers(const std::string& name) {
  std::string plain;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view part = std::string_view(name).substr(begin, end - begin);
    if (std::find(kWrappers.begin(), kWrappers.end(), part) == kWrappers.end()) {
      if (!plain.empty()) plain += '.';
      plain += part;
    }
    begin = end + 1;
  }
  return plain;
}

void refuse_adapter(std::string_view name, const std::string& where) {
  for (const std::string_view part : {".lora_", ".base_layer.", ".modules_to_save.", ".original_module."}) {
    if (name.find(part) == std::string_view::npos) continue;
    fail(where, ": tensor ", quoted_name(name),
         " is of a model with PEFT's adapters still beside its weights: call merge_and_unload() and "
         "save_pretrained() "
         "in Python, and name the folder that they write");
  }
}

// What stands before the decoder's names: "model.", "language_model.model.", nothing.
std::string prefix_of(const std::vector<std::string>& names, bool has_other_parts) {
  std::optional<std::string> found;
  for (const std::string& name : names) {
    if (!name.ends_with(kAnchor)) continue;
    const std::string prefix = name.substr(0, name.size() - kAnchor.size());
    if (!prefix.empty() && !prefix.ends_with('.')) continue;
    const bool text =
        prefix.find("language_model") != std::string::npos || prefix.find("text_model") != std::string::npos;
    if (!found || (has_other_parts ? text : prefix == kBase)) found = prefix;
  }
  return found.value_or(std::string(kBase));
}

// The name within a text model.
std::string text_name(const std::string& name, const std::string& prefix) {
  if (name.starts_with(prefix)) {
    const std::string rest = name.substr(prefix.size());
    if (!rest.starts_with(kHead)) return std::string(kBase) + rest;
  }
  const std::size_t head = name.find(kHead);
  const bool is_head = head == 0 || (head != std::string::npos && name[head - 1] == '.' &&
                                     prefix.starts_with(std::string_view(name).substr(0, head)));
  return is_head ? name.substr(head) : name;
}

// Kinds of files that hold weights and are not read.
std::string foreign_kind(const fs::path& file) {
  const std::string name = file.filename().string(), extension = file.extension().string();
  if (name == "training_args.bin" || name == "optimizer.pt" || name == "scheduler.pt") return {};
  if (extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt")
    return "a pickle, which is not read here because it can run any program";
  if (extension == ".h5") return "weights of TensorFlow, which are not read here";
  if (extension == ".msgpack") return "weights of Flax, which are not read here";
  if (extension == ".onnx") return "an ONNX graph, which is not read here";
  return {};
}

[[noreturn]] void fail_foreign(const fs::path& folder, const fs::path& file, const std::string& kind) {
  fail(file.string(), ": ", kind,
       ". Save the model as safetensors: python -c \"from transformers import "
       "AutoModelForCausalLM as M, AutoTokenizer as T; M.from_pretrained('",
       folder.string(), "').save_pretrained('OUT'); T.from_pretrained('", folder.string(),
       "').save_pretrained('OUT')\" and name OUT");
}

}  // namespace

CheckpointTensors::CheckpointTensors(const fs::path& folder, const ModelConfig& config, bool has_other_parts)
    : files_(folder) {
  const std::vector<std::string> stored = files_.names();
  std::vector<std::string> plain;
  for (const std::string& name : stored) {
    refuse_adapter(name, path().string());
    plain.push_back(without_wrappers(name));
  }
  const std::string prefix = prefix_of(plain, has_other_parts);
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const std::string name = text_name(plain[i], prefix);
    if (has_other_parts && !plain[i].starts_with(prefix) && !name.starts_with(kHead)) continue;
    const auto [entry, is_new] = stored_.emplace(name, stored[i]);
    if (!is_new) {
      fail(path().string(), ": tensors ", quoted_name(entry->second), " and ", quoted_name(stored[i]),
           " are both ", quoted_name(name), " of the model, expected one of them");
    }
    names_.push_back(name);
  }
  const auto head = stored_.find(std::string(kHeadWeight));
  if (!config.tie_word_embeddings || head == stored_.end() || find(kEmbeddingWeight) != nullptr) return;
  const std::string matrix = head->second;
  stored_.erase(head);
  stored_.emplace(kEmbeddingWeight, matrix);
  std::replace(names_.begin(), names_.end(), std::string(kHeadWeight), std::string(kEmbeddingWeight));
}

const TensorView* CheckpointTensors::find(std::string_view name) const {
  const auto it = stored_.find(std::string(name));
  return it == stored_.end() ? nullptr : files_.find(it->second);
}

const TensorView& CheckpointTensors::at(std::string_view name) const {
  if (const TensorView* tensor = find(name)) return *tensor;
  fail(path().string(), ": no tensor ", quoted_name(name), near_names_hint(name, names_));
}

void CheckpointTensors::release(std::string_view name) const { files_.release(at(name).name); }

void refuse_quantized_leftover(std::string_view name, const std::string& where) {
  struct Leftover {
    std::string_view ending, writer;
  };
  constexpr std::array kLeftovers = std::to_array<Leftover>({
      {".SCB", "bitsandbytes"},
      {".weight_format", "bitsandbytes"},
      {".weight_scale", "compressed-tensors or to 8-bit floats"},
      {".weight_scale_inv", "8-bit floats"},
      {".input_scale", "8-bit floats"},
      {".weight_packed", "compressed-tensors"},
      {".weight_zero_point", "compressed-tensors"},
      {".qweight", "GPTQ or AWQ"},
      {".qzeros", "GPTQ or AWQ"},
      {".g_idx", "GPTQ"},
      {".biases", "MLX"},
      {".scales", "GPTQ, AWQ or MLX"},
  });
  for (const auto& [ending, writer] : kLeftovers) {
    // weight.absmax, weight.quant_state.…
    const bool of_weight = writer == "bitsandbytes" && name.find(".weight.") != std::string_view::npos;
    if (!name.ends_with(ending) && !of_weight) continue;
    fail(where, ": tensor ", quoted_name(name), " is left of weights quantized by ", writer,
         ", but config.json has no quantization_config that says how: name the float model that they were "
         "made from");
  }
}

void refuse_other_checkpoints(const fs::path& path) {
  if (!fs::is_directory(path)) {
    const std::string kind = foreign_kind(path);
    if (!kind.empty()) fail_foreign(path.parent_path(), path, kind);
    return;
  }
  if (fs::is_regular_file(path / "adapter_config.json") && !fs::is_regular_file(path / "config.json")) {
    const Json config = read_json_file(path / "adapter_config.json");
    const auto base = json_get_or<std::string>(config, "base_model_name_or_path", "", path.string());
    fail(path.string(), ": a folder of PEFT's adapters alone, for the model ", quoted_name(base),
         ": merge them into it with merge_and_unload() in Python, and name the folder that save_pretrained() "
         "writes");
  }
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.is_regular_file() && !foreign_kind(entry.path()).empty()) files.push_back(entry.path());
  }
  if (files.empty()) return;
  const fs::path& first = *std::min_element(files.begin(), files.end());
  fail_foreign(path, first, foreign_kind(first));
}

}  // namespace lrqat::formats
