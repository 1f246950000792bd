// What --out may name. Overwriting is what cannot be mended afterwards: --force replaces what lrqat wrote and
// nothing else, and never what the model is read from.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lrqat/formats/ggml_types.h"
#include "lrqat/model/open.h"

namespace lrqat::model {

// Marks of what lrqat wrote: a key in the metadata of safetensors files of exported folders, and one of GGUF
// files, whose value is of the file's own tensors (other programs copy keys into files that they make); a key
// in the first row of sampled texts.
inline constexpr const char* kExportMark = "lrqat_export";
inline constexpr const char* kGgufMark = "lrqat.tensors";
inline constexpr const char* kSampledMark = "lrqat_sample_text";

class GgufMark {
 public:
  void add(const std::string& name, formats::GgmlType type, const std::vector<std::int64_t>& shape);
  std::string value() const;

 private:
  std::string text_;
};

enum class OutputKind { file, folder };

// Error, naming what is there, unless `out` is free (and can be made) or, with `replace`, something of this
// kind that lrqat wrote. Whatever stands there, it must not be one of `inputs`, lie in one or hold one; links
// are followed.
void check_output(const std::filesystem::path& out, OutputKind kind, bool replace,
                  const std::vector<std::filesystem::path>& inputs);

// Everything that the model is read from, and that its run needs to go on.
std::vector<std::filesystem::path> inputs_of(const OpenedModel& model);

}  // namespace lrqat::model
