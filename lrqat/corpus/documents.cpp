#include "lrqat/corpus/documents.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/base/user_text.h"
#include "lrqat/corpus/file_kind.h"
#include "lrqat/corpus/layouts.h"
#include "lrqat/corpus/lines.h"

namespace lrqat::corpus {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSeparator = "<|endoftext|>";
constexpr const char* kAuto = "auto";
constexpr const char* kPlain = "plain";
constexpr const char* kText = "text";

// A document is in memory as a whole, several times over when it is tokenized.
std::size_t longest_document() {
  constexpr std::int64_t kLeast = std::int64_t{64} << 20, kShare = 4;
  static const std::int64_t available = available_memory_bytes();
  if (available <= 0) return std::numeric_limits<std::size_t>::max();  // not known
  return static_cast<std::size_t>(std::max(kLeast, available / kShare));
}

}  // namespace

std::vector<std::string> data_formats() {
  std::vector<std::string> names{kAuto, kPlain};
  for (const Layout& layout : layouts()) names.push_back(layout.name);
  return names;
}

void check_data_format(const std::string& format, const std::string& setting) {
  const std::vector<std::string> names = data_formats();
  if (std::find(names.begin(), names.end(), format) != names.end()) return;
  std::string known;
  for (const std::string& name : names) known.append(known.empty() ? "" : ", ").append(name);
  throw UsageError(
      concat("`", setting, "` ", quote(format), ": expected one of ", known, did_you_mean(format, names)));
}

DocumentFile::DocumentFile(const fs::path& path, const ReadOptions& options)
    : options_(options), text_(path), layout_(find_layout(options.format)) {
  if (options.format == kPlain) return;
  refuse_tables(path);
  form_ = row_form(text_, is_json_name(path));
  if (has_rows() || layout_ == nullptr || options.format == kText) return;
  fail(path.string(), ": holds no rows of JSON, but `", options.setting, "` is ", options.format,
       "; is it text, give ", kPlain);
}

void DocumentFile::read_examples(const std::function<void(Example&&, const std::string&)>& sink) {
  std::int64_t found = 0;
  const auto count = [&](Example&& example, const std::string& where) {
    ++found;
    sink(std::move(example), where);
  };
  has_rows() ? read_rows(count) : read_plain(count);
  if (found > 0) return;
  fail(text_.name(), ": no text in this file",
       left_out_ > 0 ? concat(": none of its ", left_out_, " rows has anything to learn") : "");
}

void DocumentFile::read(const std::function<void(Document&&)>& sink) {
  read_examples([&](Example&& example, const std::string& where) {
    if (const auto* conversation = std::get_if<Conversation>(&example)) {
      had_conversations_ = true;
      return sink(options_.conversations.document(*conversation, where));
    }
    sink(std::get<Document>(std::move(example)));
  });
}

// All rows have one layout: mixtures are more often a mistake than meant.
const Layout* DocumentFile::layout_of_row(const Json& row, const RowPlace& place) {
  if (options_.format != kAuto) {
    if (!has_keys(row, *layout_)) fail_no_layout(row, place.where, layout_);
    return layout_;
  }
  const Layout* found = layout_of(row, place.where, options_.setting);
  if (found == nullptr || found == layout_) return found;
  if (layout_ != nullptr) {
    fail(text_.name(), ": line ", line_of_layout_, " is ", layout_->form, ", line ", place.line, " is ",
         found->form, ": one file must have one layout; make a file of each and give both");
  }
  line_of_layout_ = place.line;
  return layout_ = found;
}

void DocumentFile::read_rows(const std::function<void(Example&&, const std::string&)>& sink) {
  read_json_rows(
      text_, form_,
      [&](const Json& row, const RowPlace& place) {
        ++rows_;
        const Layout* layout = layout_of_row(row, place);
        std::optional<Example> example = layout == nullptr ? std::nullopt : layout->read(row, place.where);
        if (!example)
          ++left_out_;
        else
          sink(std::move(*example), place.where);
      },
      is_row);
}

// Appends the next line as it is, with its end.
bool DocumentFile::next_line(std::string& text) {
  const std::optional<Line> line = text_.next_line(longest_document());
  if (!line) return false;
  std::string_view content = line->text;
  const bool ended = line->bytes > content.size();
  if (ended && text_.has_windows_lines() && content.ends_with('\r')) content.remove_suffix(1);
  text += content;
  if (ended) text += '\n';
  if (text.size() > longest_document()) {
    fail(text_.name(), ":", line->number, ": a text of more than ", longest_document() >> 20,
         " MiB in one piece, a quarter of the memory that is free; cut it into documents by lines of ",
         kSeparator, ", or give less of it");
  }
  return true;
}

void DocumentFile::read_plain(const std::function<void(Example&&, const std::string&)>& sink) {
  std::string document;
  std::int64_t begin = text_.line();
  const auto end_document = [&] {
    if (!is_blank(document))
      sink(Document{std::exchange(document, {}), {}}, concat(text_.name(), ":", begin));
    document.clear();
    begin = text_.line();
  };
  for (std::size_t before = 0; next_line(document); before = document.size()) {
    if (trimmed(std::string_view(document).substr(before)) != kSeparator) continue;
    document.resize(before);
    end_document();
  }
  end_document();
}

std::string DocumentFile::read_whole() {
  LRQAT_CHECK(!has_rows());
  std::string text;
  while (next_line(text)) {
  }
  if (is_blank(text)) fail(text_.name(), ": no text in this file");
  return text;
}

std::vector<Document> read_documents(const fs::path& path, const ReadOptions& options) {
  std::vector<Document> documents;
  DocumentFile(path, options).read([&](Document&& document) { documents.push_back(std::move(document)); });
  return documents;
}

}  // namespace lrqat::corpus
