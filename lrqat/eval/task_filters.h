// The filters that templates of task files may use: what the prompt code of lm-evaluation-harness does to the
// text of a row.
#pragma once

#include <string>
#include <string_view>

namespace lrqat::eval {

using TaskFilter = std::string (*)(std::string_view);

// Error with `where` and the known names.
TaskFilter find_task_filter(std::string_view name, const std::string& where);

// White space as Python's str.isspace: the property White_Space and U+001C to U+001F.
bool is_python_space(char32_t character);
std::string_view python_strip(std::string_view text);
std::string_view python_rstrip(std::string_view text);

// len(re.split(r"\s+", text)): the words that word perplexity counts.
std::int64_t python_word_count(std::string_view text);
// len(text): characters.
std::int64_t python_length(std::string_view text);

// WikiText's spaced punctuation back to plain text, as lm-evaluation-harness does it (wikitext, c4).
std::string wikitext_detokenize(std::string_view text);

}  // namespace lrqat::eval
