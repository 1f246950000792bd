// What the exporters of Hugging Face folders share: tensors in order, config.json, tokenizer, and the folder
// read back before it gets its name. N rows, K columns.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lrqat/base/json.h"
#include "lrqat/export/exporter.h"
#include "lrqat/formats/dtype.h"

namespace lrqat::exporting {

using FolderSink = std::function<void(const at::Tensor& part)>;  // CPU, contiguous, of the tensor's type

struct FolderTensor {
  std::string name;
  formats::DType dtype = formats::DType::F32;
  std::vector<std::int64_t> shape;
  std::function<void(const FolderSink&)> write;
};

struct FolderPlan {
  std::vector<FolderTensor> tensors;
  Json quantization;  // null: none
  std::string dtype;  // config.json's: the type that programs load the model in
  // The model's own values differ from the file's by rounding that was asked for; read-back counts instead of
  // failing.
  bool may_round = false;
  std::vector<std::string> warnings;
};

// "float16" | "bfloat16" | "float32"; UsageError for anything else.
at::ScalarType parse_dtype_option(const std::string& name);
std::string dtype_option_name(at::ScalarType type);

// The first type that holds every number of a float32 tensor.
bool is_exact_in(const at::Tensor& values, at::ScalarType type);

// Visits rows of a weight as float32, about 4 MiB at a time.
void for_row_chunks(const quant::WeightParametrization& weight,
                    const std::function<void(const at::Tensor& rows, std::int64_t begin)>& visit);

// The matrices that one matrix of a file is made of, rows one under the other: one, but in families with
// fused projections.
using Matrices = std::vector<std::shared_ptr<quant::WeightParametrization>>;

// A float matrix as it is stored, or in the smallest type that is exact; with `type`, rounded to that.
FolderTensor float_matrix(const std::string& name, const Matrices& weights,
                          const at::ScalarType* type = nullptr);
// A norm or bias, float32 here, in the smallest type that is exact; with `type`, rounded to that.
FolderTensor float_vector(const std::string& name, const at::Tensor& values,
                          const at::ScalarType* type = nullptr);

// Calls matrix(module, weight) and vector(name, values) for every tensor of the model, in its order.
void for_each_tensor(const model::Decoder& decoder,
                     const std::function<void(const std::string&,
                                              const std::shared_ptr<quant::WeightParametrization>&)>& matrix,
                     const std::function<void(const std::string&, const at::Tensor&)>& vector);

// The same for the tensors of a Hugging Face folder of the family.
void for_each_file_tensor(const model::Decoder& decoder,
                          const std::function<void(const std::string&, const Matrices&)>& matrix,
                          const std::function<void(const std::string&, const at::Tensor&)>& vector);

std::int64_t bytes_in(const std::filesystem::path& folder);  // of its files
std::int64_t count_weights(const model::Decoder& decoder);   // of all tensors; tied ones once

// Writes the folder, opens it again as any program here does, compares, and only then gives it its name.
ExportReport write_folder(const std::string& format, const model::OpenedModel& model, const FolderPlan& plan,
                          const std::filesystem::path& out, ProgressReporter& progress);

}  // namespace lrqat::exporting
