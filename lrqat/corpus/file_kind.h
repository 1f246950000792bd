// Files that are no text although they are given as one: recognised by their first bytes, tables by their
// name.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace lrqat::corpus {

std::filesystem::path unpacked_name(
    const std::filesystem::path& path);  // "rows.jsonl" of folder/rows.jsonl.gz
// ".jsonl" of rows.JSONL and of rows.jsonl.gz.
std::string data_extension(const std::filesystem::path& path);
bool is_json_name(const std::filesystem::path& path);

// Error that names the kind of file that begins with `bytes` (`packed`: unpacked ones) and the command that
// makes a text of it; nothing for anything else.
void refuse_other_kinds(std::string_view bytes, const std::filesystem::path& path, bool packed);

// The same for CSV and TSV: they are text, and nothing in them says more than their name.
void refuse_tables(const std::filesystem::path& path);

}  // namespace lrqat::corpus
