#include "lrqat/corpus/read_data.h"

#include <algorithm>
#include <string>

#include "lrqat/base/error.h"

namespace lrqat::corpus {
namespace {

void tell_others(const DataFiles& found, ProgressReporter& progress) {
  if (found.others.empty()) return;
  constexpr std::size_t kMost = 5;
  std::string names;
  for (std::size_t i = 0; i < std::min(kMost, found.others.size()); ++i)
    names += concat(i == 0 ? "" : ", ", found.others[i].filename().string());
  progress.message(concat("not read, as they are no data files by their names: ", names,
                          found.others.size() > kMost ? ", …" : ""));
}

}  // namespace

void read_data(const DataFiles& data, const ReadOptions& options, ProgressReporter& progress,
               const std::function<void(const DataFile&, DocumentFile&)>& read) {
  tell_others(data, progress);
  bool had_conversations = false;
  for (const DataFile& file : data.files) {
    DocumentFile documents(file.path, options);
    read(file, documents);
    had_conversations = had_conversations || documents.had_conversations();
    if (documents.left_out() == 0) continue;
    progress.message(concat(file.path.string(), ": ", documents.left_out(), " of ", documents.rows(),
                            " rows have nothing to learn and are left out"));
  }
  if (had_conversations && !options.conversations.notice.empty())
    progress.message(options.conversations.notice);
}

}  // namespace lrqat::corpus
