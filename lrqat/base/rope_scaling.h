// How the frequencies of a rotary embedding are stretched for long contexts (transformers:
// modeling_rope_utils.py): what a model's configuration says and nn::RotaryEmbedding computes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lrqat {

struct RopeScaling {
  std::string rope_type = "default";  // default | linear | llama3 | dynamic | yarn | longrope
  double factor = 1.0;                // all but default
  double low_freq_factor = 1.0;       // llama3
  double high_freq_factor = 4.0;      // llama3
  std::int64_t original_max_position_embeddings =
      0;                             // llama3, yarn, longrope; dynamic: max_position_embeddings
  double attention_factor = 1.0;     // yarn, longrope: cosines and sines are multiplied by it
  double beta_fast = 32.0;           // yarn
  double beta_slow = 1.0;            // yarn
  bool truncate = true;              // yarn
  std::vector<double> short_factor;  // longrope, rotary dimension / 2 numbers each
  std::vector<double> long_factor;

  bool operator==(const RopeScaling&) const = default;
};

}  // namespace lrqat
