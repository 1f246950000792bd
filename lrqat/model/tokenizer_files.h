// A model's tokenizer, wherever the model keeps it: files beside config.json, or metadata of a GGUF file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lrqat/formats/gguf.h"
#include "lrqat/text/gguf_vocabulary.h"
#include "lrqat/text/tokenizer.h"

namespace lrqat::model {

// The tokenizer.* keys of a GGUF file.
text::GgufVocabulary read_gguf_vocabulary(const formats::GgufFile& file);
// The same keys into a file that is being written; keys without a value are left out.
void write_gguf_vocabulary(const text::GgufVocabulary& vocabulary, formats::GgufWriter& writer);

// The tokenizer of a model: a GGUF file, a folder with tokenizer files, or a folder with tokenizer.gguf (or
// another single GGUF file). A tokenizer's own file is taken too.
text::Tokenizer load_model_tokenizer(const std::filesystem::path& model);

// Tokens besides the tokenizer's own that end a generated text: eos_token_id (one or a list) of the model's
// generation_config.json, or a GGUF file's end of turn and end of message.
std::vector<std::int64_t> generation_stop_tokens(const std::filesystem::path& model);

// Puts the model's vocabulary into a GGUF file that is being written: the keys of its own GGUF file as they
// are, else what its tokenizer comes down to, padded to vocab_size, without tokens beyond it. Returns what
// llama.cpp will do otherwise than the tokenizer (a sentence each). A model without a tokenizer leaves
// nothing, which is one of these sentences.
std::vector<std::string> write_model_vocabulary(const std::filesystem::path& model, std::int64_t vocab_size,
                                                formats::GgufWriter& writer);

// Copies a model's tokenizer into `folder`: the files as they are, or tokenizer.gguf with nothing but the
// vocabulary where the model is a GGUF file. A model without a tokenizer leaves nothing. How text is
// generated (generation_config.json) goes along.
void copy_tokenizer(const std::filesystem::path& model, const std::filesystem::path& folder);
// Whether it is the name of a file that copy_tokenizer makes.
bool is_carried_file(const std::string& name);

}  // namespace lrqat::model
