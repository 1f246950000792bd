// Test helper: a llama2.c checkpoint (version 0: seven int32, then float32 arrays, each for all layers) as a
// Hugging Face folder. llama2.c rotates neighbouring rows of q and k, Hugging Face rows half a head apart.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/json.h"
#include "lrqat/formats/model_config.h"
#include "lrqat/formats/safetensors.h"

namespace lrqat::model::testing {

struct Llama2cHeader {
  std::int32_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len;
};

class Llama2cReader {
 public:
  explicit Llama2cReader(const std::filesystem::path& path) : file_(path) {
    std::memcpy(&header, file_.bytes().data(), sizeof(header));
    position_ = sizeof(header);
    LRQAT_CHECK(header.vocab_size > 0, "the classifier must be the embedding");
  }

  std::vector<float> take(std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    LRQAT_CHECK(position_ + values.size() * 4 <= file_.bytes().size());
    std::memcpy(values.data(), file_.bytes().data() + position_, values.size() * 4);
    position_ += values.size() * 4;
    return values;
  }
  std::size_t bytes_left() const { return file_.bytes().size() - position_; }

  Llama2cHeader header{};

 private:
  MappedFile file_;
  std::size_t position_ = 0;
};

// Rows 2i and 2i + 1 of a head become rows i and i + D/2.
inline std::vector<float> to_halves(const std::vector<float>& rows, std::int64_t head_dim,
                                    std::int64_t cols) {
  std::vector<float> out(rows.size());
  const auto count = static_cast<std::int64_t>(rows.size()) / cols;
  for (std::int64_t row = 0; row < count; ++row) {
    const std::int64_t head = row / head_dim * head_dim, in_head = row % head_dim;
    const std::int64_t target = head + in_head / 2 + in_head % 2 * (head_dim / 2);
    std::copy_n(rows.begin() + row * cols, cols, out.begin() + target * cols);
  }
  return out;
}

inline formats::ModelConfig llama2c_config(const Llama2cHeader& header) {
  formats::ModelConfig config;
  config.hidden_size = header.dim;
  config.intermediate_size = header.hidden_dim;
  config.num_hidden_layers = header.n_layers;
  config.num_attention_heads = header.n_heads;
  config.num_key_value_heads = header.n_kv_heads;
  config.head_dim = header.dim / header.n_heads;
  config.vocab_size = header.vocab_size;
  config.max_position_embeddings = header.seq_len;
  config.rms_norm_eps = 1e-5;
  config.tie_word_embeddings = true;
  config.bos_token_id = 1;
  config.eos_token_id = {2};
  return config;
}

inline void write_llama2c_as_huggingface(const std::filesystem::path& checkpoint,
                                         const std::filesystem::path& folder) {
  Llama2cReader reader(checkpoint);
  const Llama2cHeader& h = reader.header;
  const std::int64_t head_dim = h.dim / h.n_heads, kv_dim = h.n_kv_heads * head_dim;
  struct Entry {
    std::string name;
    std::vector<std::int64_t> shape;
    std::vector<float> values;
  };
  std::vector<Entry> entries;
  entries.push_back({"model.embed_tokens.weight", {h.vocab_size, h.dim}, reader.take(h.vocab_size * h.dim)});
  const auto each_layer = [&](const std::string& name, std::vector<std::int64_t> shape, bool rotary = false) {
    for (int layer = 0; layer < h.n_layers; ++layer) {
      std::vector<float> values = reader.take(shape[0] * (shape.size() > 1 ? shape[1] : 1));
      if (rotary) values = to_halves(values, head_dim, shape[1]);
      entries.push_back({concat("model.layers.", layer, ".", name, ".weight"), shape, std::move(values)});
    }
  };
  each_layer("input_layernorm", {h.dim});
  each_layer("self_attn.q_proj", {h.dim, h.dim}, true);
  each_layer("self_attn.k_proj", {kv_dim, h.dim}, true);
  each_layer("self_attn.v_proj", {kv_dim, h.dim});
  each_layer("self_attn.o_proj", {h.dim, h.dim});
  each_layer("post_attention_layernorm", {h.dim});
  each_layer("mlp.gate_proj", {h.hidden_dim, h.dim});
  each_layer("mlp.down_proj", {h.dim, h.hidden_dim});
  each_layer("mlp.up_proj", {h.hidden_dim, h.dim});
  entries.push_back({"model.norm.weight", {h.dim}, reader.take(h.dim)});
  // what is left are the two tables of angles
  LRQAT_CHECK(reader.bytes_left() == static_cast<std::size_t>(4 * h.seq_len * head_dim));

  std::vector<formats::TensorDeclaration> declarations;
  for (const Entry& entry : entries) declarations.push_back({entry.name, formats::DType::F32, entry.shape});
  formats::SafetensorsWriter writer(folder / "model.safetensors", declarations);
  for (const Entry& entry : entries) {
    writer.write_values(entry.name, std::span<const float>(entry.values));
  }
  writer.finish();
  write_text_file(folder / "config.json", formats::config_to_json(llama2c_config(h)).dump(2));
}

}  // namespace lrqat::model::testing
