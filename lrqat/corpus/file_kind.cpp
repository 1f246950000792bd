#include "lrqat/corpus/file_kind.h"

#include <algorithm>
#include <array>

#include "lrqat/base/error.h"

namespace lrqat::corpus {
namespace {

using std::string_view_literals::operator""sv;

struct Kind {
  std::string_view magic;
  const char* name;
  const char* advice;  // FILE stands for the path
};

constexpr const char* kOfPickles =
    "write its texts as JSON lines with a \"text\" each, in the program that made it";

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
    {"\xff\xff\xff\xff"sv, "an Arrow stream, as Hugging Face's datasets keep it",
     "python3 -c 'import datasets; datasets.Dataset.from_file(\"FILE\").to_json(\"FILE.jsonl\")'"},
    {"\x89HDF"sv, "an HDF5 file", "write its texts as JSON lines with a \"text\" each"},
    {"\x80\x02"sv, "a pickle", kOfPickles},
    {"\x80\x03"sv, "a pickle", kOfPickles},
    {"\x80\x04"sv, "a pickle", kOfPickles},
    {"\x80\x05"sv, "a pickle", kOfPickles},
    {"\xff\xfe\x00\x00"sv, "UTF-32 text", "iconv -f UTF-32 -t UTF-8 FILE > FILE.utf8.txt"},
    {"\x00\x00\xfe\xff"sv, "UTF-32 text", "iconv -f UTF-32 -t UTF-8 FILE > FILE.utf8.txt"},
    {"\xff\xfe"sv, "UTF-16 text", "iconv -f UTF-16 -t UTF-8 FILE > FILE.utf8.txt"},
    {"\xfe\xff"sv, "UTF-16 text", "iconv -f UTF-16 -t UTF-8 FILE > FILE.utf8.txt"},
    {"%PDF-"sv, "a PDF document", "pdftotext FILE"},
    {"GGUF"sv, "a GGUF model", "give it as `model`; `data` takes texts"},
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

// Tables are text, and nothing in them says more than their name.
const char* separator_of_table(const std::filesystem::path& path) {
  const std::string extension = lower_extension(path);
  return extension == ".csv" ? "," : extension == ".tsv" ? "\\t" : nullptr;
}

// Without a byte order mark: letters of Latin scripts with a zero byte each, all before them or all behind.
const char* name_of_utf16(std::string_view bytes) {
  const std::string_view begin = bytes.substr(0, std::min<std::size_t>(bytes.size(), 4096));
  std::array<std::size_t, 2> zeros{};  // at even places and at odd ones
  for (std::size_t i = 0; i < begin.size(); ++i) zeros[i % 2] += begin[i] == '\0' ? 1 : 0;
  for (const std::size_t side : {0, 1}) {
    if (zeros[side] * 4 > begin.size() && zeros[1 - side] * 16 < zeros[side])
      return side == 0 ? "UTF-16BE" : "UTF-16LE";
  }
  return nullptr;
}

}  // namespace

std::string lower_extension(const std::filesystem::path& path) {
  std::string out = path.extension().string();
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}

void refuse_other_kinds(std::string_view bytes, const std::filesystem::path& path) {
  for (const Kind& kind : kKinds) {
    if (!bytes.starts_with(kind.magic)) continue;
    fail(path.string(), ": ", kind.name,
         "; `data` takes text, JSON lines or a JSON array. Unpack or convert it first: ",
         with_path(kind.advice, path.string()));
  }
  constexpr std::size_t kTarMagic = 257;
  if (bytes.size() > kTarMagic && bytes.substr(kTarMagic).starts_with("ustar")) {
    fail(path.string(),
         ": a tar archive; `data` takes text, JSON lines or a JSON array. Unpack it first: tar -xf ",
         path.string());
  }
  if (const char* separator = separator_of_table(path)) {
    fail(path.string(),
         ": a table of values with separators (CSV, TSV); `data` takes text, JSON lines or a JSON array. ",
         "Convert it first: ",
         with_path(concat("python3 -c 'import pandas; pandas.read_csv(\"FILE\", sep=\"", separator,
                          "\").to_json(\"FILE.jsonl\", orient=\"records\", lines=True)'"),
                   path.string()));
  }
  if (const char* order = name_of_utf16(bytes)) {
    fail(path.string(), ": UTF-16 text without a byte order mark, it seems; convert it first: iconv -f ",
         order, " -t UTF-8 ", path.string(), " > ", path.string(), ".utf8.txt");
  }
}

}  // namespace lrqat::corpus
