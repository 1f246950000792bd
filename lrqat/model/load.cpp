#include "lrqat/model/load.h"

#include <ATen/ATen.h>

#include "lrqat/model/build.h"

namespace lrqat::model {

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
