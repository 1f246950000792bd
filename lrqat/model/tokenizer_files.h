// A model's tokenizer, wherever the model keeps it: files beside config.json, or metadata of a GGUF file.
#pragma once

#include <filesystem>

#include "lrqat/formats/gguf.h"
#include "lrqat/text/gguf_vocabulary.h"
#include "lrqat/text/tokenizer.h"

namespace lrqat::model {

// The tokenizer.* keys of a GGUF file.
text::GgufVocabulary read_gguf_vocabulary(const formats::GgufFile& file);
// The same keys into a file that is being written; keys without a value are left out.
void write_gguf_vocabulary(const text::GgufVocabulary& vocabulary, formats::GgufWriter& writer);

// The tokenizer of a model: a GGUF file, a folder with tokenizer files, or a folder with tokenizer.gguf (or
// another single GGUF file).
text::Tokenizer load_model_tokenizer(const std::filesystem::path& model);

// Copies a model's tokenizer into `folder`: the files as they are, or tokenizer.gguf with nothing but the
// vocabulary where the model is a GGUF file. A model without a tokenizer leaves nothing.
void copy_tokenizer(const std::filesystem::path& model, const std::filesystem::path& folder);

}  // namespace lrqat::model
