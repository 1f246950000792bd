// Pre-tokenizers: cut text into words, which are then encoded one by one (pre_tokenizers of Hugging Face
// `tokenizers`).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/base/json.h"

namespace lrqat::text {

// The regular expression of GPT-2 (encoder.py of openai/gpt-2), in Oniguruma's syntax.
extern const char* const kGpt2Pattern;

// Takes one word; `at_start`: it begins where the whole input begins. The view is gone when the call returns.
using WordSink = std::function<void(std::string_view word, bool at_start)>;

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void split(std::string_view text, bool at_start, const WordSink& next) const = 0;
  // Where this does the same as isolating the matches of a regular expression: that expression (Oniguruma's
  // syntax).
  virtual std::optional<std::string> as_isolating_pattern() const { return std::nullopt; }
  // True where the words' bytes are mapped to GPT-2's byte alphabet afterwards.
  virtual bool is_byte_level() const { return false; }
};

struct PreTokenizers {
  std::vector<std::unique_ptr<const PreTokenizer>> steps;
  // The last step maps bytes to GPT-2's byte alphabet. The words stay plain text here; the model does the
  // mapping.
  bool byte_level = false;
};

PreTokenizers pre_tokenizers_from_json(const Json& json, const std::string& where);

// Isolates the matches of `pattern` (Oniguruma's syntax).
std::unique_ptr<const PreTokenizer> make_isolating_split(const std::string& pattern,
                                                         const std::string& where);

}  // namespace lrqat::text
