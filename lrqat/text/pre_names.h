// The names that llama.cpp gives to pre-tokenizers (tokenizer.ggml.pre), as the regular expressions they
// stand for.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lrqat::text {

struct PreName {
  std::string_view name;                   // tokenizer.ggml.pre
  std::vector<std::string_view> patterns;  // isolated one after the other; Oniguruma's syntax
  bool ignore_merges = false;
  bool add_bos = false;  // without a key tokenizer.ggml.add_bos_token
};

// Error that lists the names. Empty: files from before the key existed, which are GPT-2's kind.
const PreName& find_pre_name(std::string_view name, const std::string& where);
// The row with these expressions; nullptr: llama.cpp has no such pre-tokenizer.
const PreName* pre_name_of(std::span<const std::string> patterns, bool ignore_merges);

}  // namespace lrqat::text
