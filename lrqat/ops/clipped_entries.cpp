#include "lrqat/ops/clipped_entries.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "lrqat/kernels/token_sums.h"

namespace lrqat::ops {

std::int64_t ClippedEntries::count() const {
  std::int64_t count = 0;
  for (const auto& list : lists) count += static_cast<std::int64_t>(list.size());
  return count;
}

std::vector<std::vector<float>> clipped_gradients(const ClippedEntries& clipped,
                                                  const at::Tensor& grad_columns,
                                                  const at::Tensor& x_columns) {
  const bool pairs = x_columns.scalar_type() == at::kInt;
  std::vector<std::vector<float>> values(clipped.lists.size());
  at::parallel_for(
      0, static_cast<std::int64_t>(clipped.lists.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const auto& list = clipped.lists[i];
          values[i].resize(list.size());
          const auto size = static_cast<std::int64_t>(list.size());
          if (pairs) {
            kernels::sampled_products_of_pairs(
                list.data(), size, static_cast<const std::uint32_t*>(grad_columns.const_data_ptr()),
                static_cast<const std::uint32_t*>(x_columns.const_data_ptr()), x_columns.size(1),
                values[i].data());
          } else {
            kernels::sampled_products(list.data(), size, grad_columns.const_data_ptr<float>(),
                                      x_columns.const_data_ptr<float>(), x_columns.size(1), values[i].data());
          }
        }
      });
  return values;
}

void scale_entries(const ClippedEntries& clipped, const at::Tensor& scale, std::int64_t in_features,
                   std::vector<std::vector<float>>& g) {
  const auto* s = scale.const_data_ptr<float>();
  const std::int64_t groups = scale.size(1), group_size = in_features / groups;
  for (std::size_t i = 0; i < clipped.lists.size(); ++i) {
    const auto& list = clipped.lists[i];
    for (std::size_t e = 0; e < list.size(); ++e)
      g[i][e] *= s[list[e].row * groups + list[e].col / group_size];
  }
}

// No two threads write the same row.
ClippedPart clipped_part(const ClippedEntries& clipped, const std::vector<std::vector<float>>& g,
                         const at::Tensor& a, const at::Tensor& b_columns) {
  const std::int64_t rank = a.size(1);
  ClippedPart part{at::zeros_like(a), at::zeros_like(b_columns)};
  const auto add = [rank](float factor, const float* row, float* sum) {
    for (std::int64_t r = 0; r < rank; ++r) sum[r] += factor * row[r];
  };
  const auto *from_a = a.const_data_ptr<float>(), *from_b = b_columns.const_data_ptr<float>();
  auto *to_a = part.of_a.mutable_data_ptr<float>(), *to_b = part.of_b_columns.mutable_data_ptr<float>();
  const auto& lists = clipped.lists;
  at::parallel_for(0, static_cast<std::int64_t>(lists.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::size_t e = 0; e < lists[i].size(); ++e)
        add(g[i][e], from_a + lists[i][e].row * rank, to_b + lists[i][e].col * rank);
    }
  });
  at::parallel_for(0, a.size(0), 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::size_t i = 0; i < lists.size(); ++i) {
      const auto& list = lists[i];
      auto entry =
          std::lower_bound(list.begin(), list.end(), begin,
                           [](const kernels::ClippedEntry& x, std::int64_t row) { return x.row < row; });
      for (; entry != list.end() && entry->row < end; ++entry)
        add(g[i][entry - list.begin()], from_b + entry->col * rank, to_a + entry->row * rank);
    }
  });
  return part;
}

}  // namespace lrqat::ops
