#include "lrqat/ops/backend.h"

#include <algorithm>
#include <vector>

#include "lrqat/ops/cpu_backend.h"
#include "lrqat/ops/cuda_backend.h"

namespace lrqat::ops {
namespace {

struct Row {
  at::DeviceType type;
  const Backend* backend;
};

std::vector<Row>& table() {
  static std::vector<Row> rows{{at::kCPU, &cpu_backend()}, {at::kCUDA, &cuda_backend()}};
  return rows;
}

}  // namespace

const Backend& plain_backend() {
  static const Backend plain;
  return plain;
}

const Backend& backend_of(at::Device device) {
  for (const Row& row : table()) {
    if (row.type == device.type()) return *row.backend;
  }
  return plain_backend();
}

void add_backend(at::DeviceType type, const Backend& backend) {
  std::erase_if(table(), [&](const Row& row) { return row.type == type; });
  table().push_back({type, &backend});
}

}  // namespace lrqat::ops
