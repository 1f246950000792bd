// Files that are no text although they are given as one: recognised by their first bytes, tables by their
// name.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace lrqat::corpus {

std::string lower_extension(const std::filesystem::path& path);  // ".jsonl" of rows.JSONL

// Error that names the kind of file and the command that makes a text of it; nothing for anything else.
void refuse_other_kinds(std::string_view bytes, const std::filesystem::path& path);

}  // namespace lrqat::corpus
