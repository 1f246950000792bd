// Loads a float model: a Hugging Face folder or a GGUF file, memory-mapped. Nothing but the norms is copied.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "lrqat/model/decoder.h"
#include "lrqat/model/source_weight.h"

namespace lrqat::model {

struct LoadOptions {
  ops::ComputeType compute = ops::ComputeType::float32;
  at::Device device = at::kCPU;
};

// `compute-dtype`: float32, bfloat16, or auto, which is bfloat16 where this machine multiplies it fast.
// UsageError for another name.
ops::ComputeType parse_compute_type(const std::string& name);

std::unique_ptr<Decoder> load_float_model(const std::filesystem::path& path, const LoadOptions& options = {});
// The same from an open source, which several models (teacher and student) may share.
std::unique_ptr<Decoder> load_float_model(const SharedSource& source, const LoadOptions& options = {});

}  // namespace lrqat::model
