#include "lrqat/export/compare.h"

#include <ATen/ATen.h>

#include <limits>
#include <map>

#include "lrqat/base/error.h"
#include "lrqat/export/folder.h"
#include "lrqat/model/packed_layout.h"
#include "lrqat/model/source_weight.h"

namespace lrqat::exporting {
namespace {

using WeightPtr = std::shared_ptr<quant::WeightParametrization>;

// Values of rows of `b` as for_row_chunks cuts them.
at::Tensor rows_of(const quant::WeightParametrization& weight, std::int64_t begin, std::int64_t count) {
  return weight.make_tile(begin, begin + count, ops::ComputeType::float32).to_float().cpu();
}

// Adds what differs between rows of the same shape. Zero of either sign is the same value, and so is NaN.
void add_difference(const at::Tensor& a, const at::Tensor& b, TensorDifference& difference) {
  if (at::equal(a, b)) return;
  const at::Tensor differs = a.ne(b).logical_and(a.isnan().logical_and(b.isnan()).logical_not());
  const auto elements = differs.sum().item<std::int64_t>();
  if (elements == 0) return;
  difference.elements += elements;
  const at::Tensor by = (a - b).abs().masked_select(differs);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double largest = at::nan_to_num(by, kInfinity, kInfinity).max().item<double>();
  difference.largest_difference = std::max(difference.largest_difference, largest);
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
        // What multiplies: of Gemma's norms 1 + weight, which is also what a GGUF file holds.
        const bool offset = formats::family_of(decoder.config()).norm_offset && name.ends_with("norm.weight");
        all.vectors.emplace(name, offset ? values.detach().cpu() + 1 : values.detach().cpu());
      });
  return all;
}

// True where the tensors are the same.
bool same(const Tensors& a, const Tensors& b, TensorDifference& difference) {
  difference.what = "values";
  if (const auto found = a.vectors.find(difference.name); found != a.vectors.end()) {
    add_difference(found->second, b.vectors.at(difference.name), difference);
    return difference.elements == 0;
  }
  const WeightPtr &one = a.matrices.at(difference.name), &other = b.matrices.at(difference.name);
  const auto one_integers = one->stored_integers(), other_integers = other->stored_integers();
  const bool integers = one_integers && other_integers;
  if (integers && same_integers(*one_integers, *other_integers)) return true;
  for_row_chunks(*one, [&](const at::Tensor& rows, std::int64_t begin) {
    add_difference(rows, rows_of(*other, begin, rows.size(0)), difference);
  });
  if (integers) difference.what = "integers";
  return !integers && difference.elements == 0;
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
    TensorDifference difference{.name = name};
    if (!same(one, other, difference)) {
      comparison.largest_difference = std::max(comparison.largest_difference, difference.largest_difference);
      comparison.differing.push_back(std::move(difference));
    }
    progress.update(++comparison.tensors, name);
  }
  progress.finish();
  return comparison;
}

}  // namespace lrqat::exporting
