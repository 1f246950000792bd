#include "lrqat/export/compare.h"

#include <ATen/ATen.h>

#include <map>

#include "lrqat/base/error.h"
#include "lrqat/export/folder.h"
#include "lrqat/model/packed_layout.h"

namespace lrqat::exporting {
namespace {

using WeightPtr = std::shared_ptr<quant::WeightParametrization>;

// Values of rows of `b` as for_row_chunks cuts them.
at::Tensor rows_of(const quant::WeightParametrization& weight, std::int64_t begin, std::int64_t count) {
  const quant::WeightTile tile = weight.make_tile(begin, begin + count, quant::ComputeType::float32);
  return (tile.row_scale.defined() ? tile.values * tile.row_scale.unsqueeze(1) : tile.values).cpu();
}

// The largest difference of two values; negative: none at all. Zero of either sign is the same value.
double value_difference(const WeightPtr& a, const WeightPtr& b) {
  double largest = -1;
  for_row_chunks(*a, [&](const at::Tensor& rows, std::int64_t begin) {
    const at::Tensor other = rows_of(*b, begin, rows.size(0));
    if (at::equal(rows, other)) return;
    largest = std::max(largest, (rows - other).abs().max().item<double>());
  });
  return largest;
}

struct Tensors {
  std::vector<std::string> names;
  std::map<std::string, WeightPtr> matrices;
  std::map<std::string, at::Tensor> vectors;
};

Tensors tensors_of(const model::Decoder& decoder) {
  Tensors all;
  for_each_tensor(
      decoder,
      [&](const std::string& module, const WeightPtr& weight) {
        all.names.push_back(module + ".weight");
        all.matrices.emplace(module + ".weight", weight);
      },
      [&](const std::string& name, const at::Tensor& values) {
        all.names.push_back(name);
        all.vectors.emplace(name, values.detach().cpu());
      });
  return all;
}

// The largest difference; negative: none.
double difference(const std::string& name, const Tensors& a, const Tensors& b) {
  if (const auto found = a.vectors.find(name); found != a.vectors.end()) {
    const at::Tensor& other = b.vectors.at(name);
    return at::equal(found->second, other) ? -1 : (found->second - other).abs().max().item<double>();
  }
  const WeightPtr &one = a.matrices.at(name), &other = b.matrices.at(name);
  if (one->is_quantized() && other->is_quantized()) {
    if (same_integers(one->convert(), other->convert())) return -1;
    return std::max(0.0, value_difference(one, other));
  }
  return value_difference(one, other);
}

}  // namespace

bool same_integers(const quant::QuantizedWeight& a, const quant::QuantizedWeight& b) {
  if (a.weight_int.sizes() != b.weight_int.sizes()) return false;
  const auto per_weight = [](const quant::QuantizedWeight& weight, const at::Tensor& tensor) {
    const std::int64_t rows = weight.weight_int.size(0), cols = weight.weight_int.size(1);
    return tensor.cpu().repeat_interleave(cols / tensor.size(1), 1).expand({rows, cols});
  };
  if (a.offset.defined() || b.offset.defined()) {
    if (a.offset.defined() != b.offset.defined() ||
        !at::equal(per_weight(a, a.offset), per_weight(b, b.offset))) {
      return false;
    }
  }
  const auto codes = [](quant::QuantizedWeight weight) {
    weight.offset = at::Tensor();
    return model::signed_codes(weight);
  };
  if (!at::equal(codes(a), codes(b))) return false;
  if (a.scale.sizes() == b.scale.sizes()) return at::equal(a.scale.cpu(), b.scale.cpu());
  return at::equal(per_weight(a, a.scale), per_weight(b, b.scale));
}

Comparison compare_models(const model::Decoder& a, const model::Decoder& b, ProgressReporter& progress) {
  const auto expected = formats::expected_tensors(a.config());
  if (expected != formats::expected_tensors(b.config())) {
    fail("the two models have other tensors or shapes, so they cannot be compared tensor by tensor");
  }
  const Tensors one = tensors_of(a), other = tensors_of(b);
  Comparison comparison;
  progress.start("compare", static_cast<std::int64_t>(one.names.size()));
  for (const std::string& name : one.names) {
    const double largest = difference(name, one, other);
    if (largest >= 0) {
      comparison.differing.push_back(name);
      comparison.largest_difference = std::max(comparison.largest_difference, largest);
    }
    progress.update(++comparison.tensors, name);
  }
  progress.finish();
  return comparison;
}

}  // namespace lrqat::exporting
