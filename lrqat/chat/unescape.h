#pragma once

#include <string>
#include <string_view>

namespace lrqat::chat {

// The text of a string literal (what stands between its quotes), as Python reads its escapes. Gives what is
// wrong with it; empty: nothing.
std::string unescape(std::string_view literal, std::string& out);

}  // namespace lrqat::chat
