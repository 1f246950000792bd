// A table of rows with names, which a program may add to: methods, starts, transforms. Rows that others refer
// to stay where they are. Row has a member `name`.
#pragma once

#include <deque>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace lrqat {

template <typename Row>
class RowTable {
 public:
  RowTable(std::initializer_list<Row> rows) : rows_(rows) {}

  std::vector<const Row*> all() const {  // in the order in which they were added
    std::vector<const Row*> rows;
    for (const Row& row : rows_) rows.push_back(&row);
    return rows;
  }

  const Row* find(const std::string& name) const {  // null: no such row
    for (const Row& row : rows_) {
      if (row.name == name) return &row;
    }
    return nullptr;
  }

  void add(Row row) { rows_.push_back(std::move(row)); }  // whose name is not there yet

 private:
  std::deque<Row> rows_;
};

}  // namespace lrqat
