// Packed and encoded files that are hostile: cut off, damaged, far larger unpacked, of no encoding.
#include <gtest/gtest.h>

#include "lrqat/base/memory.h"
#include "tests/corpus/test_data.h"

namespace lrqat::corpus {
namespace {

using std::string_view_literals::operator""sv;

class PackedFiles : public DataFolder {};

std::string many_rows() {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += R"({"text": "row )" + std::to_string(i * 7919) + "\"}\n";
  return text;
}

constexpr struct {
  const char* name;
  std::string (*pack)(std::string_view);
} kPackers[] = {{"gzip", gzip}, {"xz", xz}, {"Zstandard", zstd}};

TEST_F(PackedFiles, CutOffIsSaid) {
  for (const auto& packer : kPackers) {
    const std::string whole = packer.pack(many_rows());
    for (const std::size_t left : {whole.size() - 1, whole.size() - 5, whole.size() / 2, std::size_t{12}}) {
      const std::string kind = concat("a.jsonl: the ", packer.name, " file is cut off");
      expect_error("a.jsonl", whole.substr(0, left), kind);
      expect_error("a.jsonl", whole + whole.substr(0, left), kind);  // in the second part
    }
  }
}

TEST_F(PackedFiles, DamageIsSaid) {
  for (const auto& packer : kPackers) {
    std::string bytes = packer.pack(many_rows());
    const std::string kind = concat("a.jsonl: the ", packer.name, " file is damaged");
    expect_error("a.jsonl", bytes + "and more that is not packed", kind);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x55);
    bytes[bytes.size() / 2 + 1] = static_cast<char>(bytes[bytes.size() / 2 + 1] ^ 0x55);
    const std::string error = error_of("a.jsonl", bytes);  // found by its rows, or by the check sum
    EXPECT_TRUE(error.find(kind) != std::string::npos || error.find("a.jsonl:") != std::string::npos)
        << error;
  }
}

TEST_F(PackedFiles, ZerosBehindGzipArePassedOver) {
  const auto path = write("a.jsonl", gzip("{\"text\": \"a\"}\n") + std::string(512, '\0'));
  EXPECT_EQ(read_documents(path).size(), 1U);
}

TEST_F(PackedFiles, EmptyOnesHaveNoText) {
  for (const auto& packer : kPackers) expect_error("a.txt", packer.pack(""), "a.txt: no text in this file");
}

TEST_F(PackedFiles, WhatIsWithinIsNamed) {
  const std::string tar = "rows.jsonl" + std::string(247, '\0') + "ustar";
  for (const auto& packer : kPackers) {
    expect_error("a.tgz", packer.pack(tar), "packed, a tar archive");
    expect_error("a.gz", packer.pack(gzip("text")), "packed, a gzip file");
    expect_error("a.gz", packer.pack("PAR1\x15\x04PAR1"sv), "packed, a Parquet file");
    expect_error("a.csv.gz", packer.pack("text,id\n"), "a table");
  }
}

// A gigabyte of one letter that is some kilobytes packed: a row without end, a text without end, and many
// rows. None may take the memory that it unpacks to.
TEST_F(PackedFiles, BombsTakeBoundedMemory) {
  constexpr std::size_t kSize = std::size_t{400} << 20;
  reset_peak_resident();
  const auto path = [&] {
    const std::string row = R"({"text": ")" + std::string(1000, 'a') + "\"}\n";
    std::string block;
    while (block.size() < (std::size_t{4} << 20)) block += row;
    const std::string packed = zstd(block);
    std::string file;
    for (std::size_t size = 0; size < kSize; size += block.size()) file += packed;
    return write("many.jsonl.zst", file);
  }();
  [[maybe_unused]] const std::int64_t before = current_resident_bytes();
  std::int64_t rows = 0;
  reset_peak_resident();
  DocumentFile(path, {}).read([&](Document&&) { ++rows; });
  EXPECT_GT(rows, 400000);
#ifndef __SANITIZE_ADDRESS__  // which keeps freed memory for a while
  EXPECT_LT(peak_resident_bytes() - before, std::int64_t{40} << 20);
#endif

  const std::string endless = zstd("{\"text\": \"") + [] {
    const std::string packed = zstd(std::string(std::size_t{16} << 20, 'a'));
    std::string file;
    for (std::size_t size = 0; size < 2 * kSize; size += std::size_t{16} << 20) file += packed;
    return file;
  }();
  expect_error("row.jsonl.zst", endless, "row.jsonl.zst:1: a line of more than 256 MiB");
}

TEST_F(PackedFiles, BytesOfNoEncodingAreNamedWithTheirPlace) {
  const struct {
    const char* name;
    std::string bytes;
    const char* expected;
  } cases[] = {
      {"latin1.txt",
       "fine\nGr\xfc\xdf"
       "e\n",
       "latin1.txt:2: not UTF-8 text: byte 0xfc at byte 3 of the line, byte 8 of the file"},
      {"far.txt",
       std::string(70000, 'a') + "\n\nbc\xff"
                                 "defgh\n",
       "far.txt:3: not UTF-8 text: byte 0xff at byte 3 of the line, byte 70005"},
      {"marked.txt",
       "\xEF\xBB\xBF"
       "ab\xff"
       "cdefg\n",
       "marked.txt:1: not UTF-8 text: byte 0xff at byte 3 of the line, byte 6 of the file"},
      {"surrogate.txt", "a\xed\xa0\x80 bcd", "surrogate.txt:1: not UTF-8 text: byte 0xed"},
      {"cut.txt", "a\xe2\x82",
       "cut.txt:1: not UTF-8 text: byte 0xe2 at byte 2 of the line, byte 2 of the file, perhaps of a "
       "character that is cut off"},
      {"half.txt", little("ab\ncd").substr(0, 11),
       "half.txt:2: not UTF-16 text, although it begins so: half of a character at the end"},
      {"pair.txt", little("ab\n") + "\x3d\xd8" + little("x").substr(2),
       "pair.txt:2: not UTF-16 text, although it begins so: half of a surrogate pair"},
      {"lone.txt", big("ab\n") + "\xdc\x3d", "lone.txt:2: not UTF-16 text"},
      {"packed.txt",
       gzip("ab\ncd\xff"
            "efgh"),
       "packed.txt:2: not UTF-8 text: byte 0xff at byte 3 of the line, byte 6 of the unpacked text"},
      {"chinese.txt", utf16("你好，世界。你好", false, false), "chinese.txt:1: not UTF-8"},
  };
  for (const auto& c : cases) expect_error(c.name, c.bytes, c.expected);
}

TEST_F(PackedFiles, OnlyTextOfWindowsLinesIsChanged) {
  EXPECT_EQ(read_documents(write("a.txt", "a\r\nb\r\n")).at(0).text, "a\nb\n");
  EXPECT_EQ(read_documents(write("b.txt", "a\r\nb\n")).at(0).text, "a\r\nb\n");
  EXPECT_EQ(read_documents(write("c.txt", "a\rb\n")).at(0).text, "a\rb\n");
  EXPECT_EQ(read_documents(write("d.jsonl", "{\"text\": \"a\\r\\nb\"}\r\n")).at(0).text, "a\r\nb");
}

}  // namespace
}  // namespace lrqat::corpus
