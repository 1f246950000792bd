// Exporters: integers and scales, exactly as they are, into the files that other programs read. One row a
// format. What a format cannot hold exactly is refused with the formats that can.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "lrqat/base/json.h"
#include "lrqat/base/progress.h"
#include "lrqat/model/open.h"
#include "lrqat/model/output.h"

namespace lrqat::exporting {

struct ExportOptions {
  std::string linear_type = "auto";  // gguf: quantized linears as auto (smallest exact type) or a type's name
  // gguf: other matrices as keep (as the model has them), f32, f16, bf16, q8_0, q6_k; auto: embedding and
  // head as llama.cpp's own quantizer would write them, the rest as keep.
  std::string rest_type = "auto";
  std::string matrices;        // gguf: "f32": every matrix as float32 of its exact value
  std::string dtype = "auto";  // folders: auto, float16, bfloat16 or float32
  bool weights_only = false;   // of a model whose activations are quantized: leave that out
  bool allow_inexact = false;  // round what does not fit, and report the largest change of a weight
  bool replace = true;         // an output that lrqat wrote; anything else is never replaced
};

std::string known_linear_types();  // besides auto: "q2_0, q2_k, …"

struct ExportReport {
  std::string format;
  std::filesystem::path path;
  std::int64_t bytes = 0;
  double bits_per_weight = 0;
  std::int64_t tensors = 0;
  std::int64_t bit_exact_tensors = 0;  // read back and equal to the model's own values, bit for bit
  std::vector<std::string> rounded;    // gguf: the others, "token_embd.weight to Q6_K"
  double largest_change = 0;           // of a weight of a quantized linear, by allow_inexact
  std::vector<std::string> warnings;
};
Json to_json(const ExportReport& report);

struct Exporter {
  std::string name;  // as in --format
  model::OutputKind output;
  // Writes, reads back and compares. Expects a model without obstacles: call export_model.
  std::function<ExportReport(const model::OpenedModel& model, const std::filesystem::path& out,
                             const ExportOptions& options, ProgressReporter& progress)>
      run;
  // What keeps the format from holding these integers, scales aside; empty: nothing does.
  std::function<std::string(const quant::QuantizedWeight& weight, const ExportOptions& options)> obstacle;
  // The types that scales may have in the file; empty: any number.
  std::function<std::vector<at::ScalarType>(const ExportOptions& options)> scale_types;
};

const std::vector<Exporter>& exporters();  // of integers
const Exporter& adapter_exporter();        // of adapters that stay in float: no format of integers
const Exporter& find_exporter(const std::string& name);  // UsageError that lists the formats
std::string known_exporters();

// The whole way: checks that the converted folder is whole and that the format holds every linear exactly
// (Error naming the first one that it does not, why, and the formats that do), then runs the exporter. With
// allow_inexact, scales that do not fit are rounded first, in the model. What may stand at `out` is said in
// model/output.h. No format holds how activations are
// quantized: an Error for models where they are, unless weights_only.
ExportReport export_model(const Exporter& exporter, const model::OpenedModel& model,
                          const std::filesystem::path& out, const ExportOptions& options,
                          ProgressReporter& progress);

// Why the format does not hold this weight exactly; empty: it does.
std::string why_inexact(const Exporter& exporter, const quant::QuantizedWeight& weight,
                        const ExportOptions& options = {});

// Rows of the table.
Exporter gguf_exporter();                             // GGUF (ggml docs/gguf.md): blocks made from the codes
Exporter packed_exporter(const std::string& layout);  // a row of model::packed_layouts()
Exporter float_exporter();                            // a Hugging Face folder of floats, dequantized
Exporter peft_exporter();                             // float adapters (qlora, lora) as PEFT has them

}  // namespace lrqat::exporting
