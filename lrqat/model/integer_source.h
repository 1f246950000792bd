// Folders of integers (converted, compressed-tensors, GPTQ, AWQ) and, once the trainer has added its row,
// runs as a source of float weights, dequantized a few rows at a time: what training starts from where no
// float model is at hand.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "lrqat/model/decoder.h"
#include "lrqat/model/source_weight.h"

namespace lrqat::model {

// Whatever training can start from: everything that formats::open_weight_source opens, folders of integers,
// runs.
SharedSource open_source(const std::filesystem::path& path);

// The weights of a decoder in memory. `path`: where its config.json and its tokenizer lie.
SharedSource source_of(const std::filesystem::path& path, std::unique_ptr<Decoder> decoder);

// A row of the table, asked before all that are there. Add it once, at the start of the program.
struct SourceOpener {
  std::function<bool(const std::filesystem::path&)> recognises;
  std::function<SharedSource(const std::filesystem::path&)> open;
};
void add_source_opener(SourceOpener opener);

}  // namespace lrqat::model
