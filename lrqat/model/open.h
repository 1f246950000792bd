// Opens whatever --model names: a Hugging Face folder, a GGUF file, a converted folder, a folder of
// compressed-tensors, GPTQ or AWQ, and, once the trainer has added its row, a run.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/model/load.h"
#include "lrqat/text/tokenizer.h"

namespace lrqat::model {

struct OpenedModel {
  OpenedModel(std::string model_kind, std::filesystem::path model_path, std::unique_ptr<Decoder> model,
              SharedSource weights, std::filesystem::path tokenizer_at)
      : kind(std::move(model_kind)),
        path(std::move(model_path)),
        decoder(std::move(model)),
        source(std::move(weights)),
        tokenizer_path(std::move(tokenizer_at)) {}

  std::string kind;  // "huggingface", "gguf", "converted", "packed", "run"
  std::filesystem::path path;
  std::unique_ptr<Decoder> decoder;
  // The float weights that the decoder reads or was made from; null for folders of
  // integers (converted, packed).
  SharedSource source;
  // Of a run that has not taken all its steps: how far it has come, a sentence. Else empty.
  std::string unfinished;
  // What a run needs besides the model that it began from: its teacher and texts.
  std::vector<std::filesystem::path> other_inputs;
  // Where the tokenizer lies, a path for load_model_tokenizer.
  std::filesystem::path tokenizer_path;

  // Loaded at the first call.
  const text::Tokenizer& tokenizer() const;

 private:
  mutable std::optional<text::Tokenizer> tokenizer_;
};

// A row of the table: rows are asked in order, and the first that recognises the path opens it.
struct ModelOpener {
  std::string kind;
  std::function<bool(const std::filesystem::path&)> recognises;
  std::function<OpenedModel(const std::filesystem::path&, const LoadOptions&)> open;
};

// Puts a row before all others. Call it once, at the start of the program.
void add_model_opener(ModelOpener opener);

// Error where nothing recognises the path.
OpenedModel open_model(const std::filesystem::path& path, const LoadOptions& options = {});

}  // namespace lrqat::model
