#include "lrqat/train/fingerprint.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "lrqat/base/file.h"
#include "lrqat/base/sha256.h"
#include "lrqat/corpus/data_files.h"

namespace lrqat::train {
namespace {

using Bytes = std::span<const std::byte>;
using Lanes = std::array<std::uint64_t, 4>;

// Each word is mixed into its lane by a bijection (the round of xxHash64), so that a change of one word
// always changes the lane, and changes of several cancel with probability 2^-64.
Lanes hash_piece(Bytes data) {
  constexpr std::uint64_t kOdd1 = 0x9e3779b185ebca87ULL, kOdd2 = 0xc2b2ae3d27d4eb4fULL;
  Lanes lanes{kOdd1, kOdd2, ~kOdd1, ~kOdd2};
  const auto add = [&](const std::byte* block) {
    Lanes words;
    std::memcpy(words.data(), block, sizeof words);
    for (std::size_t i = 0; i < lanes.size(); ++i)
      lanes[i] = std::rotl(lanes[i] + words[i] * kOdd2, 31) * kOdd1;
  };
  for (; data.size() >= sizeof(Lanes); data = data.subspan(sizeof(Lanes))) add(data.data());
  std::array<std::byte, sizeof(Lanes)> rest{};
  std::copy(data.begin(), data.end(), rest.begin());
  add(rest.data());
  return lanes;
}

// Pieces are hashed by all threads; which do which does not show in the result.
void add_content(Sha256& hash, Bytes data) {
  constexpr std::size_t kPiece = std::size_t{1} << 22;
  std::vector<Lanes> pieces((data.size() + kPiece - 1) / kPiece);
  at::parallel_for(0, static_cast<std::int64_t>(pieces.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      pieces[i] = hash_piece(data.subspan(i * kPiece, std::min(kPiece, data.size() - i * kPiece)));
  });
  const std::uint64_t size = data.size();
  hash.update(std::as_bytes(std::span(&size, 1))).update(std::as_bytes(std::span(pieces)));
}

// Of a tensor whose file holds something else than its bytes (integers in memory): its values.
void add_values(Sha256& hash, const formats::WeightSource& source, const std::string& name) {
  const auto shape = source.shape(name);
  const std::int64_t rows = shape.at(0), columns = shape.size() < 2 ? 1 : shape[1];
  const std::int64_t step = std::max<std::int64_t>(1, (1 << 22) / columns);
  std::vector<float> values(static_cast<std::size_t>(std::min(step, rows) * columns));
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t end = std::min(begin + step, rows);
    source.read_rows(name, begin, end, values.data());
    add_content(hash,
                std::as_bytes(std::span(values).first(static_cast<std::size_t>((end - begin) * columns))));
  }
}

std::vector<std::string> sorted_names(const formats::WeightSource& source) {
  std::vector<std::string> names = source.names();
  std::sort(names.begin(), names.end());
  return names;
}

void add_text(Sha256& hash, const std::string& text) { hash.update(std::as_bytes(std::span(text))); }

}  // namespace

std::string model_fingerprint(const formats::WeightSource& source) {
  Sha256 hash;
  for (const std::string& name : sorted_names(source)) {
    const formats::SourceTensor raw = source.raw(name);
    add_text(hash, name + " " + source.dtype_name(name) + "\n");
    hash.update(std::as_bytes(std::span(raw.shape)));
    raw.data.empty() ? add_values(hash, source, name) : add_content(hash, raw.data);
    source.release(name);
  }
  return hash.hex_digest();
}

std::string model_fingerprint_1(const formats::WeightSource& source) {
  constexpr std::size_t kBytes = 4096;
  Sha256 hash;
  add_text(hash, formats::config_to_json(source.config()).dump());
  for (const std::string& name : sorted_names(source)) {
    const formats::SourceTensor raw = source.raw(name);
    add_text(hash, name + " " + source.dtype_name(name));
    hash.update(std::as_bytes(std::span(raw.shape)));
    hash.update(raw.data.first(std::min(kBytes, raw.data.size())));
  }
  return hash.hex_digest();
}

std::string bytes_fingerprint(std::span<const std::span<const std::byte>> pieces) {
  Sha256 hash;
  for (const Bytes piece : pieces) add_content(hash, piece);
  return hash.hex_digest();
}

std::string data_fingerprint(const std::string& entry) {
  Sha256 hash;
  for (const corpus::DataFile& file : corpus::find_data_files({entry}).files)
    add_content(hash, MappedFile(file.path).bytes());
  return hash.hex_digest();
}

}  // namespace lrqat::train
