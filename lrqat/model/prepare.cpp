#include "lrqat/model/prepare.h"

#include <ATen/ATen.h>

#include "lrqat/base/memory.h"

namespace lrqat::model {

void prepare(Decoder& decoder, const formats::WeightSource& source, const WeightFactory& factory,
             ProgressReporter& progress) {
  const auto linears = decoder.linears();
  progress.start("prepare", static_cast<std::int64_t>(linears.size()));
  std::int64_t done = 0;
  for (nn::Linear* linear : linears) {
    const std::string tensor = linear->name() + ".weight";
    if (auto weight = factory(linear->name(), read_tensor(source, tensor).to(decoder.device()))) {
      linear->set_weight(std::move(weight));
    }
    source.release(tensor);
    release_free_memory();
    progress.update(++done, linear->name());
  }
  progress.finish();
}

void prepare(Decoder& decoder, const formats::WeightSource& source, const WeightFactory& factory) {
  SilentProgress silent;
  prepare(decoder, source, factory, silent);
}

}  // namespace lrqat::model
