#include "lrqat/ops/clipped_entries.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <span>

#include "lrqat/kernels/token_sums.h"

namespace lrqat::ops {
namespace {

using Entry = kernels::ClippedEntry;
static_assert(sizeof(Entry) == 2 * sizeof(std::int32_t));

// The kernels' view of the lists.
class Lists {
 public:
  explicit Lists(const ClippedEntries& clipped)
      : entries_(reinterpret_cast<const Entry*>(clipped.entries.const_data_ptr<std::int32_t>())),
        ends_(clipped.list_ends.const_data_ptr<std::int64_t>()),
        count_(clipped.list_ends.size(0)) {}

  std::int64_t count() const { return count_; }
  std::int64_t begin(std::int64_t list) const { return list == 0 ? 0 : ends_[list - 1]; }  // in the entries
  std::span<const Entry> operator[](std::int64_t list) const {
    return {entries_ + begin(list), entries_ + ends_[list]};
  }

 private:
  const Entry* entries_;
  const std::int64_t* ends_;
  std::int64_t count_;
};

}  // namespace

at::Tensor clipped_gradients(const ClippedEntries& clipped, const at::Tensor& grad_columns,
                             const at::Tensor& x_columns) {
  const bool pairs = x_columns.scalar_type() == at::kInt;
  const Lists lists(clipped);
  at::Tensor values = at::empty({clipped.count()}, at::TensorOptions(at::kFloat));
  auto* out = values.mutable_data_ptr<float>();
  at::parallel_for(0, lists.count(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto list = lists[i];
      const auto size = static_cast<std::int64_t>(list.size());
      if (pairs) {
        kernels::sampled_products_of_pairs(list.data(), size,
                                           static_cast<const std::uint32_t*>(grad_columns.const_data_ptr()),
                                           static_cast<const std::uint32_t*>(x_columns.const_data_ptr()),
                                           x_columns.size(1), out + lists.begin(i));
      } else {
        kernels::sampled_products(list.data(), size, grad_columns.const_data_ptr<float>(),
                                  x_columns.const_data_ptr<float>(), x_columns.size(1), out + lists.begin(i));
      }
    }
  });
  return values;
}

void scale_entries(const ClippedEntries& clipped, const at::Tensor& scale, std::int64_t in_features,
                   at::Tensor g) {
  const auto* s = scale.const_data_ptr<float>();
  const std::int64_t groups = scale.size(1), group_size = in_features / groups;
  auto* value = g.mutable_data_ptr<float>();
  const Lists lists(clipped);
  for (std::int64_t i = 0; i < lists.count(); ++i) {
    for (const Entry& entry : lists[i]) *value++ *= s[entry.row * groups + entry.col / group_size];
  }
}

// No two threads write the same row.
ClippedPart clipped_part(const ClippedEntries& clipped, const at::Tensor& g, const at::Tensor& a,
                         const at::Tensor& b_columns) {
  const std::int64_t rank = a.size(1);
  ClippedPart part{at::zeros_like(a), at::zeros_like(b_columns)};
  const auto add = [rank](float factor, const float* row, float* sum) {
    for (std::int64_t r = 0; r < rank; ++r) sum[r] += factor * row[r];
  };
  const auto *from_a = a.const_data_ptr<float>(), *from_b = b_columns.const_data_ptr<float>();
  auto *to_a = part.of_a.mutable_data_ptr<float>(), *to_b = part.of_b_columns.mutable_data_ptr<float>();
  const Lists lists(clipped);
  const auto* values = g.const_data_ptr<float>();
  at::parallel_for(0, lists.count(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* value = values + lists.begin(i);
      for (const Entry& entry : lists[i]) add(*value++, from_a + entry.row * rank, to_b + entry.col * rank);
    }
  });
  at::parallel_for(0, a.size(0), 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = 0; i < lists.count(); ++i) {
      const auto list = lists[i];
      auto entry = std::lower_bound(list.begin(), list.end(), begin,
                                    [](const Entry& x, std::int64_t row) { return x.row < row; });
      const float* value = values + lists.begin(i) + (entry - list.begin());
      for (; entry != list.end() && entry->row < end; ++entry)
        add(*value++, from_b + entry->col * rank, to_a + entry->row * rank);
    }
  });
  return part;
}

}  // namespace lrqat::ops
