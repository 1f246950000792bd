// The rows of a file of JSON: an object a line, one array of objects, objects over several lines one behind
// the other, or one object that holds the array under some key.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "lrqat/base/json.h"
#include "lrqat/corpus/text_stream.h"

namespace lrqat::corpus {

enum class RowForm { none, lines, array, values };

// How a text holds rows, by how it begins; none: it is text. `is_json`: its name says that it is JSON, so
// that what is broken from the beginning is told from text.
RowForm row_form(TextStream& text, bool is_json);

struct RowPlace {
  std::string where;      // "FILE:LINE", for errors; of rows that share a line also which of the file it is
  std::int64_t line = 0;  // where it begins
};

using RowSink = std::function<void(const Json& row, const RowPlace& place)>;
using RowTest = std::function<bool(const Json& value)>;

// Gives all rows to `sink`: objects, whatever they hold. Error naming file and line where there is something
// else. is_row: by it an object that is all of the file and holds the rows under one of its keys is told from
// a row; without it every object is a row.
void read_json_rows(TextStream& text, RowForm form, const RowSink& sink, const RowTest& is_row = {});

}  // namespace lrqat::corpus
