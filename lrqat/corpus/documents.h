// Files of texts and rows as documents. Every error names the file and the line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "lrqat/corpus/conversation_form.h"
#include "lrqat/corpus/example.h"
#include "lrqat/corpus/json_rows.h"
#include "lrqat/corpus/text_stream.h"

namespace lrqat::corpus {

struct Layout;

// The names of `data-format`: "auto" (by what the file holds), "plain" (text, whatever it looks like), or a
// layout of rows (layouts.h).
std::vector<std::string> data_formats();
// UsageError naming `setting` where `format` is none of them.
void check_data_format(const std::string& format, const std::string& setting);

struct ReadOptions {
  std::string format = "auto";
  std::string setting = "data-format";  // what messages call it
  ConversationForm conversations = plain_form();
};

// One file. Its kind is known by its content: rows of JSON objects (json_rows.h, layouts.h), or text, which
// is cut into documents at lines that hold nothing but "<|endoftext|>"; each packed or not (byte_source.h),
// in UTF-8 or UTF-16. Of a text whose lines end as Windows' do, each end is read as "\n". It is read once,
// from the beginning to the end, and never held as a whole unless it is one document.
class DocumentFile {
 public:
  // Error where the file cannot be read, or is of another kind.
  DocumentFile(const std::filesystem::path& path, const ReadOptions& options);

  bool has_rows() const { return form_ != RowForm::none; }

  // Gives every document, or every row, to `sink`; `where` is its place in the file. Rows that have nothing
  // to learn are left out. Error where nothing at all was found.
  void read_examples(const std::function<void(Example&& example, const std::string& where)>& sink);
  // The same with conversations as text.
  void read(const std::function<void(Document&& document)>& sink);
  // The text as it is, "<|endoftext|>" and all. Error where it is blank. Not of rows.
  std::string read_whole();

  // After reading: rows in all, those that were left out, and whether there were conversations.
  std::int64_t rows() const { return rows_; }
  std::int64_t left_out() const { return left_out_; }
  bool had_conversations() const { return had_conversations_; }
  std::int64_t position() const { return text_.position(); }  // bytes of the file read so far

 private:
  const Layout* layout_of_row(const Json& row, const RowPlace& place);
  void read_rows(const std::function<void(Example&&, const std::string&)>& sink);
  void read_plain(const std::function<void(Example&&, const std::string&)>& sink);
  bool next_line(std::string& text);

  ReadOptions options_;
  TextStream text_;
  RowForm form_ = RowForm::none;
  const Layout* layout_ = nullptr;  // of all rows: what the options say, else the first one's
  std::int64_t line_of_layout_ = 0;
  std::int64_t rows_ = 0, left_out_ = 0;
  bool had_conversations_ = false;
};

// All documents of a file.
std::vector<Document> read_documents(const std::filesystem::path& path, const ReadOptions& options = {});

}  // namespace lrqat::corpus
