#include "lrqat/model/packed_layout.h"

#include <ATen/ATen.h>

#include <array>

#include "lrqat/base/error.h"
#include "lrqat/formats/packed_words.h"

namespace lrqat::model {
namespace {

using formats::DType;
using quant::Grid;
using quant::QuantizedWeight;

// Counted from the grid's smallest code: int16, shaped like the scale.
at::Tensor unsigned_zero_point(const QuantizedWeight& weight) {
  const at::Tensor zero = weight.zero_point.defined() ? weight.zero_point.cpu().to(at::kShort)
                                                      : at::zeros(weight.scale.sizes(), at::kShort);
  return zero - weight.grid.quant_min;
}

// ---- words

// uint8 [rows, n] -> int32 [rows, ceil(n · bits / 32)]
at::Tensor pack_rows(const at::Tensor& values, int num_bits) {
  const at::Tensor plain = values.contiguous();
  const std::int64_t rows = plain.size(0), count = plain.size(1);
  const std::int64_t words = formats::packed_word_count(count, num_bits);
  at::Tensor packed = at::empty({rows, words}, at::kInt);
  for (std::int64_t row = 0; row < rows; ++row) {
    formats::pack_words({plain.const_data_ptr<std::uint8_t>() + row * count, static_cast<std::size_t>(count)},
                        num_bits,
                        {reinterpret_cast<std::uint32_t*>(packed.data_ptr<std::int32_t>()) + row * words,
                         static_cast<std::size_t>(words)});
  }
  return packed;
}

// The way back, of rows of `count` numbers.
at::Tensor unpack_rows(const at::Tensor& packed, int num_bits, std::int64_t count) {
  const at::Tensor plain = packed.contiguous();
  const std::int64_t rows = plain.size(0), words = plain.size(1);
  at::Tensor values = at::empty({rows, count}, at::kByte);
  for (std::int64_t row = 0; row < rows; ++row) {
    formats::unpack_words(
        {reinterpret_cast<const std::uint32_t*>(plain.const_data_ptr<std::int32_t>()) + row * words,
         static_cast<std::size_t>(words)},
        num_bits, {values.data_ptr<std::uint8_t>() + row * count, static_cast<std::size_t>(count)});
  }
  return values;
}

std::int64_t groups_of(const PackedScheme& scheme, std::int64_t in_features) {
  if (scheme.group_size == -1) return 1;
  if (in_features % scheme.group_size != 0) {
    fail("groups of ", scheme.group_size, " weights do not divide in_features ", in_features);
  }
  return in_features / scheme.group_size;
}

std::string not_a_width(int num_bits, const std::string& format, const std::string& widths) {
  return concat(num_bits, "-bit codes do not fit ", format, ", which has ", widths, " bits");
}

// What all layouts have in common: no float offset, and zero points among the codes.
std::string grid_obstacle(const QuantizedWeight& weight, const std::string& format) {
  if (weight.offset.defined()) return float_offset_obstacle(format);
  const auto [low, high] = unsigned_zero_point(weight).aminmax();
  const int largest = weight.grid.quant_max - weight.grid.quant_min;
  if (low.item<int>() >= 0 && high.item<int>() <= largest) return {};
  return concat("zero points from ", low.item<int>(), " to ", high.item<int>(), " do not fit ", format,
                ", which has 0 to ", largest);
}

// The smallest 16-bit type that holds every scale, else float32.
at::Tensor exact_scale(const at::Tensor& scale) {
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    const at::Tensor stored = scale.to(type);
    if (at::equal(stored.to(at::kFloat), scale)) return stored;
  }
  return scale;
}

// ---- compressed-tensors: everything along in_features, but zero points packed along out_features

std::string compressed_obstacle(const QuantizedWeight& weight) {
  return grid_obstacle(weight, "compressed-tensors");
}

std::vector<PackedTensor> compressed_pack(const UnsignedCodes& codes) {
  const at::Tensor shape = at::empty({2}, at::kLong);
  shape[0] = codes.codes.size(0);
  shape[1] = codes.codes.size(1);
  std::vector<PackedTensor> tensors{{".weight_packed", pack_rows(codes.codes, codes.num_bits)},
                                    {".weight_scale", exact_scale(codes.scale)},
                                    {".weight_shape", shape}};
  if (!codes.is_symmetric()) {
    tensors.push_back(
        {".weight_zero_point", pack_rows(codes.zero_point.t(), codes.num_bits).t().contiguous()});
  }
  return tensors;
}

UnsignedCodes compressed_unpack(const TensorLookup& lookup, const PackedScheme& scheme,
                                std::int64_t out_features, std::int64_t in_features) {
  const std::int64_t groups = groups_of(scheme, in_features);
  const std::int64_t words = formats::packed_word_count(in_features, scheme.num_bits);
  UnsignedCodes codes{scheme.num_bits, scheme.group_size, {}, {}, {}};
  codes.codes = unpack_rows(lookup(".weight_packed", {out_features, words}, {DType::I32}), scheme.num_bits,
                            in_features);
  codes.scale =
      lookup(".weight_scale", {out_features, groups}, {DType::F16, DType::BF16, DType::F32}).to(at::kFloat);
  if (scheme.symmetric) {
    codes.zero_point = at::full({out_features, groups}, 1 << (scheme.num_bits - 1), at::kByte);
    return codes;
  }
  const at::Tensor zeros =
      lookup(".weight_zero_point", {formats::packed_word_count(out_features, scheme.num_bits), groups},
             {DType::I32});
  codes.zero_point = unpack_rows(zeros.t(), scheme.num_bits, out_features).t().contiguous();
  return codes;
}

// ---- GPTQ: the transposed matrix; v1 stores zero points minus one

constexpr std::int64_t kGptqMultiple = 32;  // of both sizes, so that columns and rows are whole words

std::string gptq_obstacle(const QuantizedWeight& weight) {
  const int bits = weight.grid.num_bits;
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8) return not_a_width(bits, "GPTQ", "2, 3, 4 or 8");
  for (const std::int64_t size : {weight.weight_int.size(0), weight.weight_int.size(1)}) {
    if (size % kGptqMultiple == 0) continue;
    return concat("shape [", weight.weight_int.size(0), ", ", weight.weight_int.size(1),
                  "] does not fit GPTQ: out_features and in_features must be multiples of ", kGptqMultiple);
  }
  return grid_obstacle(weight, "GPTQ");
}

std::string gptq_v1_obstacle(const QuantizedWeight& weight) {
  std::string obstacle = gptq_obstacle(weight);
  if (obstacle.empty() && to_unsigned(weight).zero_point.min().item<int>() == 0) {
    return "a zero point of 0 does not fit GPTQ v1, which stores it minus one";
  }
  return obstacle;
}

std::vector<PackedTensor> gptq_tensors(const UnsignedCodes& codes, int zero_offset) {
  const std::int64_t in_features = codes.codes.size(1);
  const std::int64_t group = in_features / codes.scale.size(1);
  return {{".qweight", pack_rows(codes.codes, codes.num_bits).t().contiguous()},
          {".qzeros", pack_rows((codes.zero_point - zero_offset).t(), codes.num_bits)},
          {".scales", codes.scale.t().contiguous().to(at::kHalf)},
          {".g_idx", at::arange(in_features, at::kInt).floor_divide_(group)}};
}

std::vector<PackedTensor> gptq_v1_pack(const UnsignedCodes& codes) { return gptq_tensors(codes, 1); }
std::vector<PackedTensor> gptq_v2_pack(const UnsignedCodes& codes) { return gptq_tensors(codes, 0); }

// Groups must lie one after the other, which they also do in files of desc_act that were quantized with
// static groups. Files without act-order may leave the index out.
void check_group_index(const TensorLookup& lookup, const PackedScheme& scheme, std::int64_t in_features,
                       std::int64_t groups) {
  if (groups == 1) return;
  if (!lookup.has(".g_idx")) {
    if (scheme.act_order)
      fail("desc_act (act-order) is true, but there is no g_idx that says where its groups are");
    return;
  }
  const at::Tensor index = lookup(".g_idx", {in_features}, {DType::I32, DType::I64});
  const at::Tensor expected =
      at::arange(in_features, index.scalar_type()).floor_divide_(in_features / groups);
  if (!at::equal(index, expected)) {
    fail(
        "g_idx is not in order: a file of desc_act (act-order), whose groups are scattered along "
        "in_features, is not supported");
  }
}

UnsignedCodes gptq_codes(const TensorLookup& lookup, const PackedScheme& scheme, std::int64_t out_features,
                         std::int64_t in_features, int zero_offset) {
  const std::int64_t groups = groups_of(scheme, in_features);
  const int bits = scheme.num_bits;
  check_group_index(lookup, scheme, in_features, groups);
  const at::Tensor words =
      lookup(".qweight", {formats::packed_word_count(in_features, bits), out_features}, {DType::I32});
  const at::Tensor zeros =
      lookup(".qzeros", {groups, formats::packed_word_count(out_features, bits)}, {DType::I32});
  UnsignedCodes codes{bits, scheme.group_size, unpack_rows(words.t(), bits, in_features), {}, {}};
  codes.scale = lookup(".scales", {groups, out_features}, {DType::F16, DType::BF16, DType::F32})
                    .to(at::kFloat)
                    .t()
                    .contiguous();
  codes.zero_point = unpack_rows(zeros, bits, out_features).t().contiguous();
  if (zero_offset > 0) {
    if (codes.zero_point.max().item<int>() == (1 << bits) - 1) {
      fail("qzeros of GPTQ v1 hold ", (1 << bits) - 1,
           ", which programs read in two ways (a zero point of 0 or of ", 1 << bits,
           "); convert the file to checkpoint_format gptq_v2");
    }
    codes.zero_point.add_(zero_offset);
  }
  return codes;
}

UnsignedCodes gptq_v1_unpack(const TensorLookup& lookup, const PackedScheme& scheme,
                             std::int64_t out_features, std::int64_t in_features) {
  return gptq_codes(lookup, scheme, out_features, in_features, 1);
}

UnsignedCodes gptq_v2_unpack(const TensorLookup& lookup, const PackedScheme& scheme,
                             std::int64_t out_features, std::int64_t in_features) {
  return gptq_codes(lookup, scheme, out_features, in_features, 0);
}

// ---- AWQ (GEMM): the transposed matrix, eight outputs a word in the order of its kernel

constexpr std::array<std::int64_t, 8> kAwqOrder{0, 2, 4, 6,
                                                1, 3, 5, 7};  // nibble i holds output kAwqOrder[i]

std::string awq_obstacle(const QuantizedWeight& weight) {
  constexpr int kAwqBits = 4;
  constexpr std::int64_t kPerWord = 8;
  if (weight.grid.num_bits != kAwqBits) return not_a_width(weight.grid.num_bits, "AWQ", "4");
  if (weight.weight_int.size(0) % kPerWord != 0) {
    return concat("out_features ", weight.weight_int.size(0), " is not a multiple of ", kPerWord,
                  ", as AWQ needs");
  }
  return grid_obstacle(weight, "AWQ");
}

at::Tensor awq_reorder(const at::Tensor& values, bool back) {
  std::array<std::int64_t, 8> order{};
  for (std::size_t i = 0; i < order.size(); ++i) {
    (back ? order[static_cast<std::size_t>(kAwqOrder[i])] : order[i]) =
        back ? static_cast<std::int64_t>(i) : kAwqOrder[i];
  }
  const at::Tensor index = at::empty({8}, at::kLong);
  std::copy(order.begin(), order.end(), index.data_ptr<std::int64_t>());
  return values.reshape({values.size(0), -1, 8}).index_select(2, index).reshape(values.sizes());
}

std::vector<PackedTensor> awq_pack(const UnsignedCodes& codes) {
  return {{".qweight", pack_rows(awq_reorder(codes.codes.t(), false), 4)},
          {".qzeros", pack_rows(awq_reorder(codes.zero_point.t(), false), 4)},
          {".scales", codes.scale.t().contiguous().to(at::kHalf)}};
}

UnsignedCodes awq_unpack(const TensorLookup& lookup, const PackedScheme& scheme, std::int64_t out_features,
                         std::int64_t in_features) {
  const std::int64_t groups = groups_of(scheme, in_features);
  const auto numbers = [&](const char* suffix, std::int64_t rows) {
    const at::Tensor words = lookup(suffix, {rows, out_features / 8}, {DType::I32});
    return awq_reorder(unpack_rows(words, 4, out_features), true).t().contiguous();
  };
  const at::Tensor scales = lookup(".scales", {groups, out_features}, {DType::F16, DType::BF16, DType::F32});
  return {4, scheme.group_size, numbers(".qweight", in_features), scales.to(at::kFloat).t().contiguous(),
          numbers(".qzeros", groups)};
}

const std::vector<PackedLayout>& layouts() {
  static const std::vector<PackedLayout> table = {
      {"compressed-tensors",
       ".weight_packed",
       {".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point"},
       {at::kHalf, at::kBFloat16, at::kFloat},
       compressed_obstacle,
       compressed_pack,
       compressed_unpack},
      {"gptq",
       ".qweight",
       {".qweight", ".qzeros", ".scales", ".g_idx"},
       {at::kHalf},
       gptq_v1_obstacle,
       gptq_v1_pack,
       gptq_v1_unpack},
      {"gptq-v2",
       ".qweight",
       {".qweight", ".qzeros", ".scales", ".g_idx"},
       {at::kHalf},
       gptq_obstacle,
       gptq_v2_pack,
       gptq_v2_unpack},
      {"awq",
       ".qweight",
       {".qweight", ".qzeros", ".scales"},
       {at::kHalf},
       awq_obstacle,
       awq_pack,
       awq_unpack},
  };
  return table;
}

}  // namespace

bool UnsignedCodes::is_symmetric() const { return zero_point.eq(1 << (num_bits - 1)).all().item<bool>(); }

at::Tensor signed_codes(const QuantizedWeight& weight) {
  LRQAT_CHECK(!weight.offset.defined());
  const at::Tensor codes = weight.weight_int.cpu().to(at::kShort).contiguous();
  if (!weight.zero_point.defined()) return codes;
  const at::Tensor zero = weight.zero_point.cpu().to(at::kShort).unsqueeze(2);
  return (codes.view({codes.size(0), zero.size(1), -1}) - zero).view(codes.sizes());
}

std::string float_offset_obstacle(const std::string& format) {
  return concat("has a learned float offset, which ", format,
                " does not hold; train with `learn-offset` false for a model that every format holds");
}

UnsignedCodes to_unsigned(const QuantizedWeight& weight) {
  const std::int64_t rows = weight.weight_int.size(0), groups = weight.scale.size(1);
  const at::Tensor codes = weight.weight_int.cpu().to(at::kShort) - weight.grid.quant_min;
  const bool grouped = weight.granularity.kind == quant::Granularity::Kind::group;
  return {weight.grid.num_bits, grouped ? weight.granularity.group_size : -1, codes.to(at::kByte),
          weight.scale.cpu().expand({rows, groups}).contiguous(),
          unsigned_zero_point(weight).to(at::kByte).expand({rows, groups}).contiguous()};
}

QuantizedWeight from_unsigned(const UnsignedCodes& codes) {
  const int middle = 1 << (codes.num_bits - 1);
  QuantizedWeight weight;
  weight.grid = {codes.num_bits, -middle, middle - 1};
  if (codes.group_size != -1) weight.granularity = {quant::Granularity::Kind::group, codes.group_size};
  weight.weight_int = (codes.codes.to(at::kShort) - middle).to(at::kChar);
  weight.scale = codes.scale;
  if (!codes.is_symmetric()) weight.zero_point = (codes.zero_point.to(at::kShort) - middle).to(at::kChar);
  return weight;
}

std::span<const PackedLayout> packed_layouts() { return layouts(); }

const PackedLayout& packed_layout(const std::string& name) {
  for (const PackedLayout& layout : layouts()) {
    if (layout.name == name) return layout;
  }
  internal_error(__FILE__, __LINE__, "packed layout", name);
}

}  // namespace lrqat::model
