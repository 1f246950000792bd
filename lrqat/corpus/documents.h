// Text files as documents. Every error names the file and the line.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace lrqat::corpus {

// A text to learn; the first prompt_bytes of it (a prompt) are seen but not learned.
struct Document {
  std::string text;
  std::size_t prompt_bytes = 0;
};

// The documents of a file, by its content: rows of JSON objects (document_rows.h has the layouts; Alpaca's
// and Dolly's are put into alpaca_prompt), or UTF-8 text, cut at lines that hold nothing but "<|endoftext|>".
// Error naming file and line where it cannot be read; other kinds of file and files without any text are
// Errors too. Rows without an answer are left out.
std::vector<Document> read_training_documents(const std::filesystem::path& path);
std::vector<std::string> read_documents(const std::filesystem::path& path);  // their texts

// The prompt that the Alpaca repository trains with; the answer follows directly.
std::string alpaca_prompt(const std::string& instruction, const std::string& input);

// All of a file's text as one string, unchanged but for a byte order mark (perplexity tokenizes a text once,
// as a whole). Rows are joined by a blank line.
std::string read_text(const std::filesystem::path& path);

}  // namespace lrqat::corpus
