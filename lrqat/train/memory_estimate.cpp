#include "lrqat/train/memory_estimate.h"

#include <algorithm>

#include "lrqat/train/cached_teacher.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/prepare_student.h"

namespace lrqat::train {
namespace {

struct Shapes {
  double weights = 0;          // of the linears
  double frozen = 0;           // bytes that training never changes (Φ0, W0, integers)
  double trained_weights = 0;  // elements of linears that are trained themselves
  double adapters = 0;         // elements
  double scales = 0;           // elements
  double floats = 0;           // elements of norms, head and embedding that are trained
  double second_gradient = 0;  // elements of a trained table that is both head and embedding
  double largest = 0;          // elements of the largest linear
  double head = 0;             // elements
  // Bytes in the model's file: embedding and head; of them a head of its own; linears.
  double head_stored = 0, untied_head_stored = 0, linears_stored = 0;
};

Shapes shapes_of(model::Decoder& decoder, const formats::WeightSource& source, const Recipe& recipe) {
  Shapes out;
  const auto stored = [&](const std::string& module) {
    const std::string tensor = module + ".weight";
    return source.has(tensor) ? static_cast<double>(source.raw(tensor).data.size()) : 0.0;  // a tied head
  };
  const methods::Method& method = method_of(recipe);
  for (const nn::Linear* linear : decoder.linears()) {
    const auto n = static_cast<double>(linear->out_features()),
               k = static_cast<double>(linear->in_features());
    out.weights += n * k;
    const auto own = layer_recipe(recipe, linear->name());
    if (!own) continue;  // stays float, in the file's pages
    own->grid_granularity().check(linear->name(), linear->in_features());
    const auto scale = own->grid_granularity().scale_shape(linear->out_features(), linear->in_features());
    if (method.frozen_bytes) out.frozen += method.frozen_bytes(layer_options(*own, linear->name())) * n * k;
    if (method.trains_weight) out.trained_weights += n * k;
    if (method.has_adapters) out.adapters += static_cast<double>(own->rank) * (n + k);
    out.scales += static_cast<double>(scale[0] * scale[1]);
    out.largest = std::max(out.largest, n * k);
    out.linears_stored += stored(linear->name());
  }
  out.head = static_cast<double>(decoder.config().vocab_size * decoder.config().hidden_size);
  for (const std::string& name : trained_floats(recipe, decoder)) {
    const bool table = name == "model.embed_tokens.weight" || name == "lm_head.weight";
    if (table && decoder.config().tie_word_embeddings) out.second_gradient = out.head;
    out.floats += table ? out.head : static_cast<double>(decoder.float_tensor(name).numel());
  }
  out.untied_head_stored = stored("lm_head");
  out.head_stored = stored("model.embed_tokens") + out.untied_head_stored;
  return out;
}

// Bytes in the teacher's file. Of the model's own, embedding and head are counted already.
double teacher_bytes(const Recipe& recipe, const Shapes& shapes, const formats::WeightSource& teacher) {
  if (recipe.distill_weight == 0.0) return 0.0;
  if (recipe.teacher.empty()) return shapes.linears_stored;
  double bytes = 0;
  for (const std::string& name : teacher.names()) bytes += static_cast<double>(teacher.raw(name).data.size());
  return bytes;
}

}  // namespace

Json memory_parts(const TrainInputs& inputs, const KeptActivations& kept) {
  const Recipe& recipe = inputs.recipe;
  model::Decoder& decoder = *inputs.decoder;
  const Shapes shapes = shapes_of(decoder, *model::unrotated(inputs.source), recipe);
  const bool trains = method_of(recipe).trains;
  const double trainables = trains ? shapes.adapters + shapes.trained_weights + shapes.floats +
                                         (recipe.learn_scale ? shapes.scales : 0.0)
                                   : 0.0;
  const auto bytes = [](double value) { return static_cast<std::int64_t>(value); };
  const double teacher = teacher_bytes(recipe, shapes, *inputs.teacher);
  constexpr double kLossChunks = 2 * 32.0 * (1 << 20);  // logits of student and teacher (nn::LossOptions)
  constexpr double kProgram = 300e6;                    // LibTorch itself and its threads
  Json parts{{"phi_0", bytes(shapes.frozen)},
             {"weights", bytes(4 * shapes.trained_weights)},
             {"adapters", bytes(4 * shapes.adapters)},
             {"scales", bytes(4 * shapes.scales)},
             {"norms_head_embedding", bytes(4 * shapes.floats)},
             {"gradients", bytes(4 * trainables)},
             {"optimizer", bytes(8 * trainables)},
             {"activations", bytes(trains ? activation_bytes(recipe, decoder, kept) : 0.0)},
             {"teacher", bytes(uses_teacher_cache(recipe) ? 0.0 : teacher)},
             {"transient", bytes(std::max(kLossChunks, 4 * shapes.largest) + 4 * shapes.second_gradient)}};
  // What calibration takes above training counts: while it runs there are no gradients, no head is read, and
  // of the student there is one layer, the others being on disk.
  std::int64_t training = 0, student = 0;
  for (const char* part : {"gradients", "optimizer", "activations", "teacher", "transient"})
    training += parts[part].get<std::int64_t>();
  for (const char* part : {"phi_0", "weights", "adapters", "scales"})
    student += parts[part].get<std::int64_t>();
  const std::int64_t calibration =
      calibration_bytes(recipe, decoder, inputs.text ? &inputs.text->training : nullptr) +
      student / decoder.num_layers();
  parts["calibration"] =
      std::max<std::int64_t>(calibration - student - training - bytes(shapes.untied_head_stored), 0);
  // A teacher that fills a cache is gone then, too.
  if (uses_teacher_cache(recipe)) parts["teacher"] = std::max<std::int64_t>(bytes(teacher) - training, 0);
  parts["embedding_and_head"] = bytes(shapes.head_stored);  // pages of the file, as the teacher's
  parts["program"] = bytes(kProgram);
  return parts;
}

double cache_bytes_per_token(const formats::ModelConfig& config,
                             const quant::ActivationOptions& activations) {
  const auto width = static_cast<double>(config.num_key_value_heads * config.head_dim);
  const double grid = activations.kv_bits < quant::kFloatBits ? 4.0 : 0.0;
  return 2.0 * static_cast<double>(config.num_hidden_layers) * (width * activations.kv_bits / 8.0 + grid);
}

}  // namespace lrqat::train
