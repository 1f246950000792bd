// Any bytes as rows of JSON, in each form that a file may have, whatever they begin with: refused with
// lrqat::Error, or objects, which one reading finds as another does.
#include "fuzz_input.h"
#include "lrqat/base/error.h"
#include "lrqat/corpus/json_rows.h"
#include "lrqat/corpus/layouts.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using lrqat::corpus::RowForm;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const RowForm form : {RowForm::lines, RowForm::array, RowForm::values}) {
    try {
      lrqat::corpus::TextStream stream(text, "rows", 1);
      lrqat::fuzz::use(static_cast<std::size_t>(lrqat::corpus::row_form(stream, form != RowForm::values)));
      std::int64_t last = 0;
      lrqat::corpus::read_json_rows(
          stream, form,
          [&](const lrqat::Json& row, const lrqat::corpus::RowPlace& place) {
            if (!row.is_object() || place.line < last) std::abort();
            last = place.line;
          },
          lrqat::corpus::is_row);
    } catch (const lrqat::Error&) {
    }
  }
  return 0;
}
