#include "lrqat/model/check_finite.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/formats/finite.h"
#include "lrqat/model/tensor_file.h"

namespace lrqat::model {
namespace {

formats::GgmlType stored_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return formats::GgmlType::F32;
    case at::kHalf:
      return formats::GgmlType::F16;
    case at::kBFloat16:
      return formats::GgmlType::BF16;
    case at::kDouble:
      return formats::GgmlType::F64;
    default:
      internal_error(__FILE__, __LINE__, "a tensor of floats", at::toString(type));
  }
}

std::int64_t rows_of(const formats::SourceTensor& stored) {
  return stored.shape.empty() ? 1 : stored.shape.front();
}

void check_rows(const formats::SourceTensor& stored, std::int64_t row_begin, std::int64_t row_end,
                const std::string& where, const std::string& name) {
  constexpr std::int64_t kElementsPerTask = 1 << 16;
  const std::int64_t cols = stored.cols();
  const std::size_t row_bytes = formats::ggml_row_bytes(stored.type, cols);
  std::atomic<std::int64_t> first_bad{row_end};
  const std::int64_t grain = std::max<std::int64_t>(1, kElementsPerTask / std::max<std::int64_t>(cols, 1));
  at::parallel_for(row_begin, row_end, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end && row < first_bad; ++row) {
      const auto at = static_cast<std::size_t>(stored.source_row(row)) * row_bytes;
      if (formats::all_finite(stored.type, stored.data.data() + at, cols)) continue;
      std::int64_t before = first_bad;
      while (row < before && !first_bad.compare_exchange_weak(before, row)) {
      }
    }
  });
  if (first_bad == row_end) return;
  fail(where, ": tensor ", quote(name), " holds a number that is not finite (NaN or infinity) in row ",
       first_bad.load(), " of ", rows_of(stored),
       ": the file is damaged, or training diverged before it was written; fetch or make it again");
}

}  // namespace

void check_finite(const formats::WeightSource& source, const std::string& name) {
  constexpr std::int64_t kBytesAtOnce = std::int64_t{4} << 20;
  const formats::SourceTensor stored = source.raw(name);
  const auto row_bytes = static_cast<std::int64_t>(formats::ggml_row_bytes(stored.type, stored.cols()));
  const std::int64_t rows = rows_of(stored),
                     step = std::max<std::int64_t>(1, kBytesAtOnce / std::max<std::int64_t>(row_bytes, 1));
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    check_rows(stored, begin, std::min(begin + step, rows), source.path(), name);
    source.release(name);
  }
}

void check_finite(const at::Tensor& values, const std::string& where, const std::string& name) {
  const TensorBytes bytes(values);
  const formats::SourceTensor plain{stored_type(values.scalar_type()), values.sizes().vec(), bytes, {}};
  check_rows(plain, 0, rows_of(plain), where, name);
}

}  // namespace lrqat::model
