#include "lrqat/model/load.h"

#include <ATen/ATen.h>

#include "lrqat/base/cpu.h"
#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/model/build.h"

namespace lrqat::model {

ops::ComputeType parse_compute_type(const std::string& name) {
  if (name == "float32") return ops::ComputeType::float32;
  if (name == "bfloat16" || (name == "auto" && has_fast_bfloat16())) return ops::ComputeType::bfloat16;
  if (name == "auto") return ops::ComputeType::float32;
  throw UsageError(concat("`compute-dtype` ", quote(name), ": expected auto, float32 or bfloat16"));
}

std::unique_ptr<Decoder> load_float_model(const std::filesystem::path& path, const LoadOptions& options) {
  return load_float_model(SharedSource(formats::open_weight_source(path)), options);
}

std::unique_ptr<Decoder> load_float_model(const SharedSource& source, const LoadOptions& options) {
  const WeightProvider provider{
      [&](const std::string& module) { return frozen_weight(source, module + ".weight", options.device); },
      [&](const std::string& tensor) { return read_tensor(*source, tensor).to(options.device); }};
  return build_decoder(source->config(), provider, options.compute);
}

}  // namespace lrqat::model
