#include "lrqat/data/file_kind.h"

#include <algorithm>

#include "lrqat/base/error.h"

namespace lrqat::data {
namespace {

using std::string_view_literals::operator""sv;

struct Kind {
  std::string_view magic;
  const char* name;
  const char* advice;  // FILE stands for the path
};

constexpr Kind kKinds[] = {
    {"\x1f\x8b"sv, "a gzip file", "gunzip -k FILE"},
    {"PK\x03\x04"sv, "a zip archive", "unzip FILE"},
    {"\xfd"
     "7zXZ\x00"sv,
     "an xz file", "unxz -k FILE"},
    {"\x28\xb5\x2f\xfd"sv, "a Zstandard file", "unzstd FILE"},
    {"BZh"sv, "a bzip2 file", "bunzip2 -k FILE"},
    {"7z\xbc\xaf\x27\x1c"sv, "a 7-Zip archive", "7z x FILE"},
    {"PAR1"sv, "a Parquet file",
     "python3 -c 'import pandas; pandas.read_parquet(\"FILE\").to_json(\"FILE.jsonl\", orient=\"records\", "
     "lines=True)'"},
    {"ARROW1"sv, "an Arrow file",
     "python3 -c 'import pandas; pandas.read_feather(\"FILE\").to_json(\"FILE.jsonl\", orient=\"records\", "
     "lines=True)'"},
    {"\xff\xfe\x00\x00"sv, "UTF-32 text", "iconv -f UTF-32 -t UTF-8 FILE > FILE.utf8.txt"},
    {"\x00\x00\xfe\xff"sv, "UTF-32 text", "iconv -f UTF-32 -t UTF-8 FILE > FILE.utf8.txt"},
    {"\xff\xfe"sv, "UTF-16 text", "iconv -f UTF-16 -t UTF-8 FILE > FILE.utf8.txt"},
    {"\xfe\xff"sv, "UTF-16 text", "iconv -f UTF-16 -t UTF-8 FILE > FILE.utf8.txt"},
    {"%PDF-"sv, "a PDF document", "pdftotext FILE"},
    {"GGUF"sv, "a GGUF model", "give it as --model; --data takes texts"},
    {"SQLite format 3\x00"sv, "an SQLite database", "write its texts as JSON lines with a \"text\" each"},
    {"version https://git-lfs.github.com/spec/"sv, "a git-lfs pointer, not the file itself",
     "git lfs pull in the repository that it came from"},
};

std::string with_path(std::string_view advice, const std::string& path) {
  std::string out;
  for (std::size_t at = 0; at < advice.size();) {
    if (advice.substr(at).starts_with("FILE")) {
      out += path;
      at += 4;
    } else {
      out += advice[at++];
    }
  }
  return out;
}

// Without a byte order mark: letters of Latin scripts with a zero byte each.
bool looks_like_utf16(std::string_view bytes) {
  const std::string_view begin = bytes.substr(0, std::min<std::size_t>(bytes.size(), 4096));
  return begin.size() >= 2 && std::count(begin.begin(), begin.end(), '\0') * 4 > std::ssize(begin);
}

}  // namespace

void refuse_other_kinds(std::string_view bytes, const std::filesystem::path& path) {
  for (const Kind& kind : kKinds) {
    if (!bytes.starts_with(kind.magic)) continue;
    fail(path.string(), ": ", kind.name,
         "; --data takes text, JSON lines or a JSON array. Unpack or convert it first: ",
         with_path(kind.advice, path.string()));
  }
  if (looks_like_utf16(bytes)) {
    const char* order = bytes[0] == '\0' ? "UTF-16BE" : "UTF-16LE";
    fail(path.string(), ": UTF-16 text without a byte order mark, it seems; convert it first: iconv -f ",
         order, " -t UTF-8 ", path.string(), " > ", path.string(), ".utf8.txt");
  }
}

}  // namespace lrqat::data
