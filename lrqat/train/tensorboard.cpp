#include "lrqat/train/tensorboard.h"

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <type_traits>
#include <vector>

#include "lrqat/base/error.h"

namespace lrqat::train {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "events.out.tfevents.";
constexpr std::string_view kSuffix = ".lrqat";

// Fields of tensorflow/core/util/event.proto and framework/summary.proto.
constexpr int kEventWallTime = 1, kEventStep = 2, kEventFileVersion = 3, kEventSummary = 5,
              kEventSessionLog = 7;
constexpr int kSummaryValue = 1, kValueTag = 1, kValueSimple = 2;
constexpr int kSessionStatus = 1, kSessionStart = 1;

// The wire types of protobuf.
constexpr unsigned kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
    table[byte] = crc;
  }
  return table;
}

template <typename T>
void append_little_endian(std::string& out, T value) {
  static_assert(std::endian::native == std::endian::little);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(0x80U | (value & 0x7fU));
  out += static_cast<char>(value);
}

void append_key(std::string& out, int field, unsigned wire_type) {
  append_varint(out, (static_cast<std::uint64_t>(field) << 3) | wire_type);
}

void append_integer(std::string& out, int field, std::int64_t value) {
  append_key(out, field, kVarint);
  append_varint(out, static_cast<std::uint64_t>(value));
}

template <typename Real>
void append_real(std::string& out, int field, Real value) {
  append_key(out, field, std::is_same_v<Real, double> ? kFixed64 : kFixed32);
  append_little_endian(out, value);
}

void append_bytes(std::string& out, int field, std::string_view bytes) {
  append_key(out, field, kBytes);
  append_varint(out, bytes.size());
  out += bytes;
}

std::string event_at(double wall_time, std::int64_t step) {
  std::string event;
  append_real(event, kEventWallTime, wall_time);
  append_integer(event, kEventStep, step);
  return event;
}

std::string scalar_value(const std::string& tag, double value) {
  std::string message;
  append_bytes(message, kValueTag, tag);
  append_real(message, kValueSimple, static_cast<float>(value));
  return message;
}

bool is_event_file(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with(kPrefix) && name.ends_with(kSuffix);
}

std::vector<fs::path> event_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (is_event_file(entry.path())) files.push_back(entry.path());
  }
  return files;
}

// TensorBoard reads a folder's files in the order of their names: seconds, then a running number, so that two
// starts within one second stay in order.
fs::path new_event_file(const fs::path& folder, double wall_time) {
  char name[64];
  std::snprintf(name, sizeof name, "%010lld.%06zu", static_cast<long long>(wall_time),
                event_files(folder).size());
  return folder / concat(kPrefix, name, kSuffix);
}

}  // namespace

std::uint32_t crc32c(std::string_view data) {
  static constexpr auto kTable = make_crc_table();
  std::uint32_t crc = 0xffffffffU;
  for (const char c : data) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xffU];
  return ~crc;
}

std::uint32_t masked_crc32c(std::string_view data) { return std::rotr(crc32c(data), 15) + 0xa282ead8U; }

TensorBoardWriter::TensorBoardWriter(const fs::path& folder, double wall_time, std::int64_t first_step)
    : path_(new_event_file(folder, wall_time)), file_(std::fopen(path_.c_str(), "wb")) {
  if (file_ == nullptr) fail("cannot create ", path_.string(), ": ", std::strerror(errno));
  std::string version;
  append_real(version, kEventWallTime, wall_time);
  append_bytes(version, kEventFileVersion, "brain.Event:2");
  write_record(version);
  if (first_step < 0) return;
  std::string session;
  append_integer(session, kSessionStatus, kSessionStart);
  std::string restart = event_at(wall_time, first_step);
  append_bytes(restart, kEventSessionLog, session);
  write_record(restart);
}

TensorBoardWriter::~TensorBoardWriter() { std::fclose(file_); }

void TensorBoardWriter::add_scalars(double wall_time, std::int64_t step,
                                    const std::map<std::string, double>& values) {
  std::string summary;
  for (const auto& [tag, value] : values) append_bytes(summary, kSummaryValue, scalar_value(tag, value));
  std::string event = event_at(wall_time, step);
  append_bytes(event, kEventSummary, summary);
  write_record(event);
}

// u64 length, masked CRC of the length, data, masked CRC of the data; all little-endian.
void TensorBoardWriter::write_record(const std::string& event) {
  std::string record;
  append_little_endian(record, static_cast<std::uint64_t>(event.size()));
  append_little_endian(record, masked_crc32c(record));
  record += event;
  append_little_endian(record, masked_crc32c(event));
  if (std::fwrite(record.data(), 1, record.size(), file_) != record.size() || std::fflush(file_) != 0) {
    fail("cannot write ", path_.string(), ": ", std::strerror(errno));
  }
}

void remove_event_files(const fs::path& folder) {
  for (const fs::path& file : event_files(folder)) fs::remove(file);
}

}  // namespace lrqat::train
