// The regular expressions inside tokenizer.json are Oniguruma's (its own syntax, UTF-8). This translates the
// part of it that tokenizers use to PCRE2's syntax and refuses the rest by name, so that a pattern never
// means something else here than it does in Hugging Face `tokenizers`.
//
// Characters newer than PCRE2's Unicode: unicode_versions.h. A script that PCRE2 does not know is refused.
#pragma once

#include <string>
#include <string_view>

namespace lrqat::text {

// `where` names the pattern's place in error messages.
std::string oniguruma_to_pcre2(std::string_view pattern, const std::string& where);

}  // namespace lrqat::text
