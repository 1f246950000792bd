#include "lrqat/corpus/file_kind.h"

#include <algorithm>

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
    {"\x04\x22\x4d\x18"sv, "an LZ4 file", "unlz4 FILE"},
    {"\x1f\x9d"sv, "a compress file", "gunzip -k FILE"},
    {"7z\xbc\xaf\x27\x1c"sv, "a 7-Zip archive", "7z x FILE"},
    {"PAR1"sv, "a Parquet file (pandas and pyarrow read it)",
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

std::string lower_extension(const std::filesystem::path& path) {
  std::string out = path.extension().string();
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}

[[noreturn]] void fail_kind(const std::filesystem::path& path, bool packed, const std::string& kind,
                            const std::string& command) {
  fail(path.string(), packed ? ": packed, " : ": ", kind,
       "; `data` takes text, JSON lines or a JSON array, also packed by gzip, xz or Zstandard. ",
       packed ? "Unpack the file, then unpack or convert what it holds, as by: "
              : "Unpack or convert it first: ",
       command);
}

}  // namespace

std::filesystem::path unpacked_name(const std::filesystem::path& path) {
  const std::string extension = lower_extension(path);
  const bool packed = extension == ".gz" || extension == ".xz" || extension == ".zst" || extension == ".zstd";
  return packed ? path.stem() : path.filename();
}

std::string data_extension(const std::filesystem::path& path) { return lower_extension(unpacked_name(path)); }

bool is_json_name(const std::filesystem::path& path) {
  const std::string extension = data_extension(path);
  return extension == ".json" || extension == ".jsonl" || extension == ".ndjson";
}

void refuse_other_kinds(std::string_view bytes, const std::filesystem::path& path, bool packed) {
  for (const Kind& kind : kKinds) {
    if (bytes.starts_with(kind.magic))
      fail_kind(path, packed, kind.name, with_path(kind.advice, path.string()));
  }
  constexpr std::size_t kTarMagic = 257;
  if (bytes.size() > kTarMagic && bytes.substr(kTarMagic).starts_with("ustar"))
    fail_kind(path, packed, "a tar archive", "tar -xf " + path.string());
}

void refuse_tables(const std::filesystem::path& path) {
  const std::string extension = data_extension(path);
  if (extension != ".csv" && extension != ".tsv") return;
  const char* separator = extension == ".csv" ? "," : "\\t";
  fail_kind(path, false, "a table of values with separators (CSV, TSV)",
            with_path(concat("python3 -c 'import pandas; pandas.read_csv(\"FILE\", sep=\"", separator,
                             "\").to_json(\"FILE.jsonl\", orient=\"records\", lines=True)'"),
                      path.string()));
}

}  // namespace lrqat::corpus
