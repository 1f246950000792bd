#include "lrqat/model/rotations.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>

#include "lrqat/base/error.h"
#include "lrqat/base/random.h"
#include "lrqat/base/user_text.h"
#include "lrqat/nn/hadamard.h"

namespace lrqat::model {
namespace {

using formats::GgmlType;

constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";
constexpr const char* kFinalNorm = "model.norm.weight";
constexpr std::string_view kLayer = "model.layers.";

// ±1, float32 [size]. Every matrix R has a stream of its own.
at::Tensor random_signs(std::int64_t size, std::uint64_t seed, std::uint64_t stream) {
  constexpr std::uint64_t kRotationStreams = std::uint64_t{1} << 32;  // away from those of other purposes
  Random random(seed, kRotationStreams + stream);
  at::Tensor signs = at::empty({size}, at::kFloat);
  for (std::int64_t i = 0; i < size; ++i)
    signs.mutable_data_ptr<float>()[i] = random.below(2) == 0 ? 1.0F : -1.0F;
  return signs;
}

// x·R along the last dimension.
at::Tensor rotated(const at::Tensor& x, const at::Tensor& signs) { return nn::hadamard(x * signs); }

// "self_attn.q_proj.weight" of "model.layers.3.self_attn.q_proj.weight"; empty outside of layers.
std::string name_in_layer(std::string_view name) {
  if (!name.starts_with(kLayer)) return {};
  const std::size_t dot = name.find('.', kLayer.size());
  return dot == std::string_view::npos ? std::string() : std::string(name.substr(dot + 1));
}

// "model.layers.3."
std::string layer_prefix(std::string_view name) {
  return std::string(name.substr(0, name.find('.', kLayer.size()) + 1));
}

bool is_one_of(const std::string& name, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* one) { return name == one; });
}

bool is_norm(const std::string& part) {
  return is_one_of(part, {"input_layernorm.weight", "post_attention_layernorm.weight"});
}

class RotatedSource final : public formats::WeightSource {
 public:
  RotatedSource(SharedSource source, const Rotations& rotations, std::uint64_t seed)
      : source_(std::move(source)), rotations_(rotations), seed_(seed), config_(source_->config()) {
    set_online_rotations(config_, rotations);
    if (rotations.r1) {
      unties_ = config_.tie_word_embeddings;
      config_.tie_word_embeddings = false;
      hidden_signs_ = random_signs(config_.hidden_size, seed, 0);
    }
  }

  const SharedSource& original() const { return source_; }

  const formats::ModelConfig& config() const override { return config_; }
  std::vector<std::string> names() const override {
    std::vector<std::string> names = source_->names();
    if (unties_) names.emplace_back(kHead);
    return names;
  }
  bool has(std::string_view name) const override { return source_->has(original_name(name)); }
  std::vector<std::int64_t> shape(std::string_view name) const override {
    return source_->shape(original_name(name));
  }
  std::string dtype_name(std::string_view name) const override {
    return changes(name) ? "F32" : source_->dtype_name(name);
  }
  std::string path() const override { return source_->path(); }
  std::string kind() const override { return source_->kind(); }

  void read_rows(std::string_view name, std::int64_t row_begin, std::int64_t row_end,
                 float* out) const override {
    if (!changes(name)) return source_->read_rows(name, row_begin, row_end, out);
    const at::Tensor rows = whole(name).narrow(0, row_begin, row_end - row_begin).contiguous();
    std::copy_n(rows.const_data_ptr<float>(), rows.numel(), out);
  }

  // Matrices of layers have no bytes of their own: a type of no float sends everyone to read_rows.
  formats::SourceTensor raw(std::string_view name) const override {
    if (!changes(name)) return source_->raw(name);
    if (is_passing(name)) return {GgmlType::Q8_K, shape(name), {}, {}};
    const at::Tensor values = whole(name);
    return {GgmlType::F32,
            shape(name),
            {static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()},
            {}};
  }

  void release(std::string_view name) const override {
    source_->release(original_name(name));
    const std::lock_guard lock(mutex_);
    passing_.erase(std::string(name));
  }

 private:
  std::string_view original_name(std::string_view name) const {
    return unties_ && name == kHead ? kEmbedding : name;
  }

  // Large and many: kept only while their layer is read.
  bool is_passing(std::string_view name) const { return name.starts_with(kLayer) && shape(name).size() == 2; }

  bool changes(std::string_view name) const {
    const std::string part = name_in_layer(name);
    if (part.empty()) return rotations_.r1 && (name == kEmbedding || name == kHead || name == kFinalNorm);
    if (is_one_of(part, {"self_attn.v_proj.weight", "self_attn.o_proj.weight"}))
      return rotations_.r1 || rotations_.r2;
    if (part == "self_attn.v_proj.bias") return rotations_.r2;
    if (part == "mlp.down_proj.weight") return rotations_.r1 || rotations_.r4;
    return rotations_.r1 &&
           (is_norm(part) ||
            is_one_of(part, {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.o_proj.bias",
                             "mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.bias"}));
  }

  // The changed tensor, computed unless it is held.
  at::Tensor whole(std::string_view name) const {
    const std::lock_guard lock(mutex_);
    const std::string key(name);
    const bool passing = is_passing(name);
    if (passing && passing_layer_ != layer_prefix(name)) {
      passing_.clear();
      passing_layer_ = layer_prefix(name);
    }
    at::Tensor& held = passing ? passing_[key] : held_[key];
    if (!held.defined()) {
      const at::NoGradGuard no_grad;
      held = changed(key).contiguous();
    }
    return held;
  }

  at::Tensor read(const std::string& name) const { return read_tensor(*source_, name); }

  // What a norm multiplies by.
  at::Tensor norm_factor(const std::string& name) const { return read(name) + norm_offset(); }
  double norm_offset() const { return formats::family_of(config_).norm_offset ? 1.0 : 0.0; }

  at::Tensor changed(const std::string& name) const {
    const std::string part = name_in_layer(name), prefix = layer_prefix(name);
    if (name == kFinalNorm || is_norm(part)) return at::full_like(read(name), 1.0 - norm_offset());
    at::Tensor values = read(std::string(original_name(name)));
    if (name == kEmbedding) return rotated(values, hidden_signs_);
    if (name == kHead) return rotated(values * norm_factor(kFinalNorm), hidden_signs_);
    if (part.ends_with(".bias")) return changed_bias(part, prefix, values);
    if (is_one_of(part, {"self_attn.o_proj.weight", "mlp.down_proj.weight"}))
      return changed_output(part, prefix, values);
    if (rotations_.r1) {
      const bool attention = part.starts_with("self_attn.");
      const at::Tensor factor =
          norm_factor(prefix + (attention ? "input_layernorm.weight" : "post_attention_layernorm.weight"));
      values = rotated(values * factor, hidden_signs_);
    }
    if (part != "self_attn.v_proj.weight" || !rotations_.r2) return values;
    const at::Tensor heads = values.view({-1, config_.head_dim, values.size(1)}).transpose(1, 2);
    return rotated(heads, head_signs(prefix)).transpose(1, 2).reshape(values.sizes());
  }

  at::Tensor changed_bias(const std::string& part, const std::string& prefix,
                          const at::Tensor& values) const {
    if (part != "self_attn.v_proj.bias") return rotated(values, hidden_signs_);
    return rotated(values.view({-1, config_.head_dim}), head_signs(prefix)).reshape(values.sizes());
  }

  // Of the linears that write to the hidden state.
  at::Tensor changed_output(const std::string& part, const std::string& prefix, at::Tensor values) const {
    if (part == "mlp.down_proj.weight") {
      if (rotations_.r4) values = nn::hadamard(values);
    } else if (rotations_.r2) {
      const at::Tensor heads = values.view({values.size(0), -1, config_.head_dim});
      values = rotated(heads, head_signs(prefix)).reshape(values.sizes());
    }
    return rotations_.r1 ? rotated(values.t(), hidden_signs_).t() : values;
  }

  // Of R2 in one layer.
  at::Tensor head_signs(const std::string& prefix) const {
    return random_signs(config_.head_dim, seed_, 1 + std::stoull(prefix.substr(kLayer.size())));
  }

  SharedSource source_;
  Rotations rotations_;
  std::uint64_t seed_;
  formats::ModelConfig config_;
  bool unties_ = false;
  at::Tensor hidden_signs_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, at::Tensor> held_, passing_;
  mutable std::string passing_layer_;
};

void check_size(std::int64_t size, const char* rotation, const char* key) {
  if (nn::has_hadamard(size)) return;
  fail("`rotations` ", rotation, ": no Hadamard matrix of order ", size, " (", key,
       " of this model) is known here; leave ", rotation, " out");
}

void check_rotations(const formats::ModelConfig& config, const Rotations& rotations) {
  const Rotations online = online_rotations(config);
  if (online.any()) {
    fail("`rotations` ", rotations_name(rotations), ": the model has ", rotations_name(online),
         " in its forward pass already; start from the model that was rotated");
  }
  if (rotations.r1 && formats::family_of(config).sandwich_norms) {
    fail(
        "`rotations` r1: ", config.architecture,
        " has norms behind attention and MLP, whose weights multiply single channels of what is added to the "
        "hidden state, so no rotation of it can be absorbed; `rotations` r2,r3,r4 go");
  }
  if (rotations.r1) check_size(config.hidden_size, "r1", "hidden_size");
  if (rotations.r2) check_size(config.head_dim, "r2", "head_dim");
  if (rotations.r3) check_size(config.head_dim, "r3", "head_dim");
  if (rotations.r4) check_size(config.intermediate_size, "r4", "intermediate_size");
}

const RotatedSource* as_rotated(const formats::WeightSource& source) {
  return dynamic_cast<const RotatedSource*>(&source);
}

}  // namespace

Rotations parse_rotations(const std::string& text) {
  if (text == "none") return {};
  if (text == "absorbed") return {.r1 = true, .r2 = true};
  if (text == "all") return {true, true, true, true};
  Rotations rotations;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view word = std::string_view(text).substr(begin, end - begin);
    bool* const one = word == "r1"   ? &rotations.r1
                      : word == "r2" ? &rotations.r2
                      : word == "r3" ? &rotations.r3
                      : word == "r4" ? &rotations.r4
                                     : nullptr;
    if (one == nullptr) {
      throw UsageError(concat("`rotations` ", quote(text),
                              ": expected none, absorbed (r1,r2), all, or some of r1,r2,r3,r4"));
    }
    *one = true;
    begin = end + 1;
  }
  return rotations;
}

std::string rotations_name(const Rotations& rotations) {
  for (const char* name : {"none", "absorbed", "all"}) {
    if (rotations == parse_rotations(name)) return name;
  }
  std::string list;
  const auto add = [&](bool has, const char* name) {
    if (has) list += concat(list.empty() ? "" : ",", name);
  };
  add(rotations.r1, "r1");
  add(rotations.r2, "r2");
  add(rotations.r3, "r3");
  add(rotations.r4, "r4");
  return list;
}

Rotations online_rotations(const formats::ModelConfig& config) {
  return {.r3 = config.rotated_heads, .r4 = config.rotated_product};
}

void set_online_rotations(formats::ModelConfig& config, const Rotations& rotations) {
  config.rotated_heads = rotations.r3;
  config.rotated_product = rotations.r4;
}

SharedSource rotate(const SharedSource& source, const Rotations& rotations, std::uint64_t seed) {
  if (!rotations.any()) return source;
  check_rotations(source->config(), rotations);
  return std::make_shared<RotatedSource>(source, rotations, seed);
}

SharedSource unrotated(const SharedSource& source) {
  const RotatedSource* rotated = as_rotated(*source);
  return rotated != nullptr ? rotated->original() : source;
}

const formats::WeightSource& unrotated(const formats::WeightSource& source) {
  const RotatedSource* rotated = as_rotated(source);
  return rotated != nullptr ? *rotated->original() : source;
}

}  // namespace lrqat::model
