#include "lrqat/corpus/byte_source.h"

#include <algorithm>
#include <cstring>

#include "lrqat/corpus/unpackers.h"

namespace lrqat::corpus {
namespace {

class PlainFile final : public ByteSource {
 public:
  explicit PlainFile(const std::filesystem::path& path) : input_(path) {}

  std::size_t read(std::span<char> out) override {
    const std::size_t size = std::min(out.size(), input_.rest().size());
    if (size > 0) std::memcpy(out.data(), input_.rest().data(), size);
    input_.advance(size);
    return size;
  }
  std::int64_t position() const override { return static_cast<std::int64_t>(input_.position()); }
  FileInput& input() { return input_; }

 private:
  FileInput input_;
};

class PackedFile final : public ByteSource {
 public:
  PackedFile(const std::filesystem::path& path, std::unique_ptr<Unpacker> unpacker)
      : input_(path), unpacker_(std::move(unpacker)) {}

  std::size_t read(std::span<char> out) override { return unpacker_->unpack(input_, out); }
  std::int64_t position() const override { return static_cast<std::int64_t>(input_.position()); }
  bool is_packed() const override { return true; }

 private:
  FileInput input_;
  std::unique_ptr<Unpacker> unpacker_;
};

class Memory final : public ByteSource {
 public:
  explicit Memory(std::span<const char> bytes) : rest_(bytes), size_(bytes.size()) {}

  std::size_t read(std::span<char> out) override {
    const std::size_t size = std::min(out.size(), rest_.size());
    std::copy_n(rest_.begin(), size, out.begin());
    rest_ = rest_.subspan(size);
    return size;
  }
  std::int64_t position() const override { return static_cast<std::int64_t>(size_ - rest_.size()); }

 private:
  std::span<const char> rest_;
  std::size_t size_;
};

}  // namespace

std::unique_ptr<ByteSource> open_bytes(const std::filesystem::path& path) {
  auto plain = std::make_unique<PlainFile>(path);
  const Compression* compression = compression_of(plain->input().rest());
  if (compression == nullptr) return plain;
  return std::make_unique<PackedFile>(path, compression->unpacker());
}

std::unique_ptr<ByteSource> bytes_in_memory(std::span<const char> bytes) {
  return std::make_unique<Memory>(bytes);
}

}  // namespace lrqat::corpus
