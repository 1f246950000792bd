// Files that are no text although they are given as one: recognised by their first bytes.
#pragma once

#include <filesystem>
#include <string_view>

namespace lrqat::data {

// Error that names the kind of file and the command that makes a text of it; nothing for anything else.
void refuse_other_kinds(std::string_view bytes, const std::filesystem::path& path);

}  // namespace lrqat::data
