// The converted folder: integers and scales, the one thing that `lrqat convert` makes and that evaluation and
// every export start from. Its layout:
//   config.json         the model's config with a "quantization_config" of quant_method "lrqat"
//   model.safetensors   <linear>.weight_packed (two 4-bit codes a byte) or <linear>.weight_int, and
//                       <linear>.weight_scale; <linear>.weight_zero_point (int8) where the grid is
//                       asymmetric, <linear>.weight_offset (float32) where it has a float offset, both shaped
//                       like the scales; every other tensor exactly as the source holds it
//                       (float32 where the run trained or rescaled it). The value of a
//                       weight is weight_scale * (code - weight_zero_point) + weight_offset
//                       "activations" in quantization_config: how activations are quantized
//                       (model/activations.h)
//   tokenizer           the source's tokenizer files, or tokenizer.gguf (vocabulary only)
// N out_features, K in_features.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lrqat/base/json.h"
#include "lrqat/model/load.h"

namespace lrqat::model {

// A tensor kept as integers, without the integers.
struct ConvertedLayer {
  std::string name;  // of the linear: model.layers.0.mlp.up_proj
  quant::Grid grid;
  quant::Granularity granularity;
  double clipped_fraction = 0.0;
  bool has_zero_point = false;
  bool has_offset = false;
};

struct ConvertedSummary {
  std::vector<ConvertedLayer> layers;  // in model order
  // Of, in model order, each layer's name, number of bits, codes (int8 [N, K]) and scales (float32): equal
  // for equal integers and scales, whatever file they lie in.
  std::string sha256;
};

// name, num_bits, granularity, group_size, clipped_fraction; zero_point and offset where they are there
Json to_json(const ConvertedLayer& layer);

// The sha256 and the layers of a decoder, without writing anything. Error where no linear is quantized.
ConvertedSummary summarize(const Decoder& decoder);

// Adapters that lie in float over integers become part of these, by rounding (quant::merged_by_rounding),
// which makes another model. Linears without such adapters stay.
void round_adapters(Decoder& decoder);

// Writes the folder; it appears whole or not at all. Linears that are quantized are stored as integers,
// everything else comes from `source`, the float model that the decoder was made from. An existing `out` is
// an Error unless `replace`, and then too where it is anything but a converted folder or an empty one.
ConvertedSummary save_converted(const Decoder& decoder, const formats::WeightSource& source,
                                const std::filesystem::path& out, bool replace = false);

// Error naming the linear where what was trained, or the integers that it comes to, are no finite numbers:
// codes of such weights look like any others.
void check_trained(const nn::Linear& linear);

bool is_converted_folder(const std::filesystem::path& path);

// Error naming the tensor where the folder does not hold what its config says.
std::unique_ptr<Decoder> load_converted(const std::filesystem::path& folder, const LoadOptions& options = {});

// Error where the sha256 in the folder's config is not that of the integers and scales in `decoder`, which
// was loaded from it. Loading alone does not look: it would read every weight.
void check_converted(const std::filesystem::path& folder, const Decoder& decoder);

}  // namespace lrqat::model
