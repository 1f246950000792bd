// Any bytes as a file of data, packed or not, text or rows: refused with lrqat::Error, or read into documents
// that are what they say.
#include "fuzz_input.h"
#include "lrqat/base/error.h"
#include "lrqat/corpus/documents.h"
#include "lrqat/text/unicode.h"

namespace {

void check(const lrqat::corpus::Document& document) {
  if (document.text.empty() || !lrqat::text::is_valid_utf8(document.text)) std::abort();
  std::size_t end = 0;
  for (const auto& span : document.scored) {
    if (span.begin < end || span.end < span.begin || span.end > document.text.size()) std::abort();
    end = span.end;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const lrqat::fuzz::InputFile input(data, size);
  for (const std::string& format : lrqat::corpus::data_formats()) {
    try {
      lrqat::corpus::DocumentFile file(input.path(), {.format = format});
      file.read([](lrqat::corpus::Document&& document) { check(document); });
    } catch (const lrqat::Error&) {
    }
  }
  return 0;
}
