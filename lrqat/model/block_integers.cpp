#include "lrqat/model/block_integers.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "lrqat/base/error.h"
#include "lrqat/formats/ggml_integers.h"

namespace lrqat::model {
namespace {

// Where a group's grid lies: value = scale · (code - zero_point), codes from -2^(b-1) to 2^(b-1) - 1.
// negated: numbers and scale change their sign.
struct Placed {
  bool negated = false;
  int zero_point = 0;
};

// The number whose value is 0, where the offset is a multiple of the scale.
std::optional<int> zero_number(float scale, float offset, int largest) {
  if (offset == 0.0F) return 0;
  if (scale == 0.0F) return std::nullopt;
  const float number = std::nearbyint(-offset / scale);
  if (number < 0.0F || number > static_cast<float>(largest) || scale * number != -offset) return std::nullopt;
  return static_cast<int>(number);
}

// Zero points are 0 wherever the codes of the group fit around zero. Scales keep their sign, but for Q2_0's
// (`zero` beside the middle), whose numbers from -1 to 2 are written with a negative one where codes go from
// -2 to 1.
Placed place(std::span<const std::uint8_t> numbers, float scale, int zero, bool beside, int half) {
  const auto [least, most] = std::minmax_element(numbers.begin(), numbers.end());
  const bool negated = beside && scale < 0.0F;
  const int low = negated ? zero - *most : *least - zero, high = negated ? zero - *least : *most - zero;
  if (low >= -half && high < half) return {negated, 0};
  return {negated, negated ? half - 1 - zero : zero - half};
}

class Reader {
 public:
  explicit Reader(const formats::SourceTensor& raw)
      : raw_(raw),
        type_(*formats::find_integer_block_type(raw.type)),
        rows_(raw.shape[0]),
        cols_(raw.shape[1]),
        groups_(cols_ / type_.group_size),
        half_(1 << (type_.num_bits - 1)),
        codes_(at::empty({rows_, cols_}, at::kChar)),
        scale_(at::empty({rows_, groups_}, at::kFloat)),
        offset_(at::empty({rows_, groups_}, at::kFloat)),
        zero_point_(at::empty({rows_, groups_}, at::kChar)) {}

  quant::QuantizedWeight read() {
    for_rows([this](std::int64_t row) { read_row(row); });
    // Groups without any weight but zero have no say in where the grid lies.
    bool shifted = type_.has_offset;
    if (shifted) shifted = !offsets_are_numbers();
    for_rows([&](std::int64_t row) { place_row(row, shifted); });
    quant::QuantizedWeight weight{{type_.num_bits, -half_, half_ - 1},
                                  {quant::Granularity::Kind::group, type_.group_size},
                                  codes_,
                                  scale_,
                                  0.0};
    if (zero_point_.ne(0).any().item<bool>()) weight.zero_point = zero_point_;
    if (shifted) weight.offset = offset_;
    return weight;
  }

 private:
  template <typename Work>
  void for_rows(const Work& work) const {
    at::parallel_for(0, rows_, 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) work(row);
    });
  }

  // Numbers, for now where the codes will be.
  std::span<std::uint8_t> numbers(std::int64_t row) const {
    return {reinterpret_cast<std::uint8_t*>(codes_.data_ptr<std::int8_t>()) + row * cols_,
            static_cast<std::size_t>(cols_)};
  }
  std::span<float> of(const at::Tensor& tensor, std::int64_t row) const {
    return {tensor.data_ptr<float>() + row * groups_, static_cast<std::size_t>(groups_)};
  }

  void read_row(std::int64_t row) const {
    const std::size_t bytes = formats::ggml_row_bytes(raw_.type, cols_);
    formats::read_integers(type_, raw_.data.data() + static_cast<std::size_t>(raw_.source_row(row)) * bytes,
                           numbers(row), of(scale_, row), of(offset_, row));
  }

  bool offsets_are_numbers() const {
    const float *scale = scale_.const_data_ptr<float>(), *offset = offset_.const_data_ptr<float>();
    for (std::int64_t i = 0; i < scale_.numel(); ++i) {
      if (!zero_number(scale[i], offset[i], 2 * half_ - 1)) return false;
    }
    return true;
  }

  void place_row(std::int64_t row, bool shifted) const {
    const auto size = static_cast<std::size_t>(type_.group_size);
    const auto scale = of(scale_, row), offset = of(offset_, row);
    std::int8_t* zero_points = zero_point_.data_ptr<std::int8_t>() + row * groups_;
    for (std::size_t g = 0; g < scale.size(); ++g) {
      const auto group = numbers(row).subspan(g * size, size);
      const int zero =
          type_.has_offset ? (shifted ? 0 : *zero_number(scale[g], offset[g], 2 * half_ - 1)) : type_.zero;
      const bool beside = !type_.has_offset && type_.zero != half_;
      const Placed placed = place(group, scale[g], zero, beside, half_);
      if (placed.negated) scale[g] = -scale[g];
      for (std::uint8_t& number : group) {
        const int code = placed.negated ? zero - number : number - zero;
        number = static_cast<std::uint8_t>(static_cast<std::int8_t>(code + placed.zero_point));
      }
      zero_points[g] = static_cast<std::int8_t>(placed.zero_point);
    }
  }

  const formats::SourceTensor& raw_;
  const formats::IntegerBlockType& type_;
  std::int64_t rows_, cols_, groups_;
  int half_;
  at::Tensor codes_, scale_, offset_, zero_point_;
};

}  // namespace

bool holds_integers(const formats::SourceTensor& raw) {
  return raw.shape.size() == 2 && !raw.data.empty() && formats::find_integer_block_type(raw.type) != nullptr;
}

quant::QuantizedWeight integers_of(const formats::SourceTensor& raw) {
  LRQAT_CHECK(holds_integers(raw));
  return Reader(raw).read();
}

}  // namespace lrqat::model
