// Rotations of a model before anything is quantized: orthogonal matrices that change no function and spread
// outliers over all channels (SpinQuant, arXiv 2405.16406; QuaRot, arXiv 2404.00456; section 10 of
// docs/method.md).
//   R1   of the hidden state: in the weights; the norms' own weights are folded into the linears behind them,
//        the final one's into the head, which is then tied to the embedding no more
//   R2   of each head between v_proj and o_proj: in their weights
//   R3   of each head of queries and keys, after the rotary embedding: in the forward pass
//   R4   of down_proj's input: in the forward pass, its inverse in down_proj's weight
// R = diag(±1)·H with random signs and a Hadamard matrix H; R3 and R4 are H alone.
#pragma once

#include <cstdint>
#include <string>

#include "lrqat/model/source_weight.h"

namespace lrqat::model {

struct Rotations {
  bool r1 = false, r2 = false, r3 = false, r4 = false;

  bool any() const { return r1 || r2 || r3 || r4; }
  bool operator==(const Rotations&) const = default;
};

// "none", "absorbed" (r1,r2), "all", or a list as "r1,r2,r4". UsageError.
Rotations parse_rotations(const std::string& text);
std::string rotations_name(const Rotations& rotations);

// Those that the forward pass of such a model has, r3 and r4.
Rotations online_rotations(const formats::ModelConfig& config);
void set_online_rotations(formats::ModelConfig& config, const Rotations& rotations);

// The rotated model, float32, as a source of its own: its config says what stands in the forward pass.
// Weights are rotated when they are read; those of one layer, embedding and head are kept. The source itself
// where nothing is to be rotated. Error where a size has no Hadamard matrix, where norms behind attention and
// MLP keep R1 from being absorbed, and where the model has such transforms already.
SharedSource rotate(const SharedSource& source, const Rotations& rotations, std::uint64_t seed);

// The model that a rotated one was made from, which computes the same; another source itself.
SharedSource unrotated(const SharedSource& source);
const formats::WeightSource& unrotated(const formats::WeightSource& source);

}  // namespace lrqat::model
