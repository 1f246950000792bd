#include "lrqat/corpus/documents.h"

#include <string_view>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/corpus/document_rows.h"
#include "lrqat/corpus/file_kind.h"
#include "lrqat/corpus/lines.h"
#include "lrqat/text/unicode.h"

namespace lrqat::corpus {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSeparator = "<|endoftext|>";

void require_utf8(std::string_view text, const fs::path& path) {
  if (text::is_valid_utf8(text)) return;
  if (text.find('\0') != std::string_view::npos)
    fail(path.string(),
         ": no text, but a binary file of a kind that is not known here; `data` takes text, JSON lines or ",
         "a JSON array");
  Lines lines(text);
  while (const auto line = lines.next()) {
    if (!text::is_valid_utf8(*line)) {
      fail(path.string(), ":", lines.number(), ": not UTF-8 text; convert the file (for example with iconv)");
    }
  }
  fail(path.string(), ": not UTF-8 text");
}

// Without the byte order mark that some programs write.
std::string read_utf8(const fs::path& path) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  std::string text = read_text_file(path);
  refuse_other_kinds(text, path);
  require_utf8(text, path);
  if (text.starts_with(kMark)) text.erase(0, kMark.size());
  return text;
}

std::vector<Document> plain_text(std::string_view text) {
  std::vector<Document> documents;
  const auto add = [&](std::string_view document) {
    if (!is_blank(document)) documents.push_back({std::string(document)});
  };
  std::size_t begin = 0;  // of the document
  std::size_t line_begin = 0;
  Lines lines(text);
  while (const auto line = lines.next()) {
    if (trimmed(*line) == kSeparator) {
      add(text.substr(begin, line_begin - begin));
      begin = lines.position();
    }
    line_begin = lines.position();
  }
  add(text.substr(begin));
  return documents;
}

std::vector<Document> documents_of(const std::string& text, const fs::path& path) {
  std::vector<Document> documents = holds_rows(text, path) ? read_rows(text, path) : plain_text(text);
  if (documents.empty()) fail(path.string(), ": no text in this file");
  return documents;
}

}  // namespace

std::vector<Document> read_training_documents(const fs::path& path) {
  return documents_of(read_utf8(path), path);
}

std::vector<std::string> read_documents(const fs::path& path) {
  std::vector<std::string> texts;
  for (Document& document : read_training_documents(path)) texts.push_back(std::move(document.text));
  return texts;
}

std::string read_text(const fs::path& path) {
  std::string text = read_utf8(path);
  if (!holds_rows(text, path)) {
    if (is_blank(text)) fail(path.string(), ": no text in this file");
    return text;
  }
  std::string joined;
  for (const Document& document : documents_of(text, path)) {
    if (!joined.empty()) joined += "\n\n";
    joined += document.text;
  }
  return joined;
}

}  // namespace lrqat::corpus
