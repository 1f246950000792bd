// metrics.jsonl and TensorBoard files, read back by a reader of the test's own.
#include "lrqat/train/metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "lrqat/base/file.h"
#include "lrqat/train/tensorboard.h"
#include "tests/model/fixtures.h"

namespace lrqat::train {
namespace {

namespace fs = std::filesystem;

template <typename T>
T number_at(std::string_view data, std::size_t offset) {
  T value;
  std::memcpy(&value, data.data() + offset, sizeof value);
  return value;
}

struct Event {
  double wall_time = 0;
  std::int64_t step = 0;
  std::string version;
  std::map<std::string, float> scalars;
  bool session_start = false;
};

// A protobuf message as (field, bytes of the value) in order; numbers keep their little-endian bytes.
struct Field {
  std::uint64_t number;
  std::uint64_t integer = 0;  // varint
  std::string_view bytes;     // of the other wire types
};

std::uint64_t read_varint(std::string_view& data) {
  std::uint64_t value = 0;
  for (unsigned shift = 0;; shift += 7) {
    LRQAT_CHECK(!data.empty() && shift < 64, "varint");
    const auto byte = static_cast<unsigned char>(data.front());
    data.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
    if (byte < 0x80) return value;
  }
}

std::vector<Field> fields_of(std::string_view data) {
  std::vector<Field> fields;
  while (!data.empty()) {
    const std::uint64_t key = read_varint(data);
    Field field{key >> 3, 0, {}};
    const auto wire = key & 7U;
    if (wire == 0) {
      field.integer = read_varint(data);
    } else {
      const std::uint64_t size = wire == 1 ? 8 : wire == 5 ? 4 : read_varint(data);
      LRQAT_CHECK(size <= data.size());
      field.bytes = data.substr(0, size);
      data.remove_prefix(size);
    }
    fields.push_back(field);
  }
  return fields;
}

Event parse_event(std::string_view data) {
  Event event;
  for (const Field& field : fields_of(data)) {
    if (field.number == 1) event.wall_time = number_at<double>(field.bytes, 0);
    if (field.number == 2) event.step = static_cast<std::int64_t>(field.integer);
    if (field.number == 3) event.version = field.bytes;
    if (field.number == 5) {
      for (const Field& value : fields_of(field.bytes)) {
        const auto parts = fields_of(value.bytes);
        event.scalars[std::string(parts.at(0).bytes)] = number_at<float>(parts.at(1).bytes, 0);
      }
    }
    if (field.number == 7) event.session_start = fields_of(field.bytes).at(0).integer == 1;
  }
  return event;
}

// CRC-32C bit by bit, another way than the writer's table; then the mask of TFRecord.
std::uint32_t slow_masked_crc(std::string_view data) {
  std::uint32_t crc = 0xffffffffU;
  for (const char c : data) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      const bool flip = ((crc ^ (static_cast<unsigned char>(c) >> bit)) & 1U) != 0;
      crc = (crc >> 1) ^ (flip ? 0x82f63b78U : 0U);
    }
  }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

// nullopt where a checksum or a length is wrong.
std::optional<std::vector<Event>> parse_events(std::string_view file) {
  std::vector<Event> events;
  while (!file.empty()) {
    if (file.size() < 12 || number_at<std::uint32_t>(file, 8) != slow_masked_crc(file.substr(0, 8)))
      return {};
    const auto size = number_at<std::uint64_t>(file, 0);
    if (file.size() < 16 + size) return {};
    if (number_at<std::uint32_t>(file, 12 + size) != slow_masked_crc(file.substr(12, size))) return {};
    events.push_back(parse_event(file.substr(12, size)));
    file.remove_prefix(16 + size);
  }
  return events;
}

std::vector<fs::path> event_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<Json> metrics_lines(const fs::path& folder) {
  std::vector<Json> lines;
  std::istringstream text(read_text_file(folder / "metrics.jsonl"));
  for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
  return lines;
}

std::vector<std::int64_t> steps_of(const std::vector<Json>& lines) {
  std::vector<std::int64_t> steps;
  for (const Json& line : lines) steps.push_back(line["step"]);
  return steps;
}

TEST(Crc32c, GivesTheStandardsValues) {  // RFC 3720, appendix B.4
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  EXPECT_EQ(masked_crc32c("foo"), slow_masked_crc("foo"));
  EXPECT_NE(masked_crc32c("foo"), masked_crc32c("fop"));
}

TEST(MetricsWriter, WritesLinesAndEvents) {
  const model::testing::TemporaryFolder folder;
  const fs::path run = folder.path() / "new" / "run";
  MetricsWriter writer(run, -1);
  writer.log(1, {{"train/loss", 2.5}, {"lr", 1e-3}});
  writer.log(300, {{"train/loss", std::numeric_limits<double>::quiet_NaN()}});

  const auto lines = metrics_lines(run);  // while the writer still lives: nothing waits in a buffer
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0]["step"], 1);
  EXPECT_EQ(lines[0]["train/loss"], 2.5);
  EXPECT_EQ(lines[0]["lr"], 1e-3);
  EXPECT_GT(lines[0]["time"].get<double>(), 1.6e9);
  EXPECT_TRUE(lines[1]["train/loss"].is_null());

  ASSERT_EQ(event_files(run).size(), 1U);
  const auto events = parse_events(read_text_file(event_files(run)[0]));
  ASSERT_TRUE(events.has_value());
  ASSERT_EQ(events->size(), 3U);
  EXPECT_EQ(events->at(0).version, "brain.Event:2");
  EXPECT_FALSE(events->at(0).session_start);
  EXPECT_EQ(events->at(1).step, 1);
  EXPECT_EQ(events->at(1).wall_time, lines[0]["time"].get<double>());
  EXPECT_EQ(events->at(1).scalars, (std::map<std::string, float>{{"train/loss", 2.5F}, {"lr", 1e-3F}}));
  EXPECT_EQ(events->at(2).step, 300);
  EXPECT_TRUE(std::isnan(events->at(2).scalars.at("train/loss")));
}

TEST(MetricsWriter, ReaderOfThisTestSeesDamage) {
  const model::testing::TemporaryFolder folder;
  MetricsWriter(folder.path(), -1).log(1, {{"loss", 1.0}});
  const std::string file = read_text_file(event_files(folder.path()).at(0));
  ASSERT_TRUE(parse_events(file).has_value());
  for (std::size_t i = 0; i < file.size(); ++i) {
    std::string damaged = file;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    EXPECT_FALSE(parse_events(damaged).has_value()) << i;
  }
}

TEST(MetricsWriter, ResumedRunDropsLaterLines) {
  const model::testing::TemporaryFolder folder;
  {
    MetricsWriter writer(folder.path(), -1);
    for (int step = 1; step <= 5; ++step) writer.log(step, {{"loss", step}});
  }
  const std::string killed = read_text_file(folder.path() / "metrics.jsonl") + "{\"step\": 2, \"ti";
  write_text_file(folder.path() / "metrics.jsonl", killed);
  MetricsWriter resumed(folder.path(), 3);
  EXPECT_EQ(steps_of(metrics_lines(folder.path())), (std::vector<std::int64_t>{1, 2, 3}));
  resumed.log(4, {{"loss", 40}});
  EXPECT_EQ(steps_of(metrics_lines(folder.path())), (std::vector<std::int64_t>{1, 2, 3, 4}));

  const auto files = event_files(folder.path());
  ASSERT_EQ(files.size(), 2U);  // sorted by name: the newer one is the second
  const auto events = parse_events(read_text_file(files[1]));
  ASSERT_TRUE(events.has_value());
  ASSERT_EQ(events->size(), 3U);
  EXPECT_TRUE(events->at(1).session_start);
  EXPECT_EQ(events->at(1).step, 4);  // TensorBoard drops this step and later ones of older files
  EXPECT_EQ(events->at(2).scalars.at("loss"), 40.0F);
}

TEST(MetricsWriter, NewRunStartsEmpty) {
  const model::testing::TemporaryFolder folder;
  MetricsWriter(folder.path(), -1).log(1, {{"loss", 1.0}});
  write_text_file(folder.path() / "events.out.tfevents.1.other", "somebody else's");
  const MetricsWriter writer(folder.path(), -1);
  EXPECT_TRUE(metrics_lines(folder.path()).empty());
  EXPECT_EQ(event_files(folder.path()).size(), 2U);  // the new one, and the one that is not ours
}

TEST(MetricsWriter, LayersResumeWithTheirStep) {
  const model::testing::TemporaryFolder folder;
  {
    MetricsWriter writer(folder.path(), -1);
    for (int step = 2; step <= 6; step += 2)
      writer.log_layers(step, {{"a", {{"scale_mean", step}}}, {"b", {{"scale_mean", 10.0 * step}}}});
  }
  EXPECT_EQ(last_layer_report(folder.path()).at("b").at("scale_mean"), 60.0);
  const MetricsWriter resumed(folder.path(), 4);
  const auto report = last_layer_report(folder.path());
  ASSERT_EQ(report.size(), 2U);
  EXPECT_EQ(report.at("a").at("scale_mean"), 4.0);
  EXPECT_EQ(report.at("a").at("step"), 4);
}

TEST(MetricsWriter, ResumesWithoutAnOldFile) {
  const model::testing::TemporaryFolder folder;
  MetricsWriter writer(folder.path(), 7);
  writer.log(8, {{"loss", 1.0}});
  EXPECT_EQ(metrics_lines(folder.path()).size(), 1U);
}

}  // namespace
}  // namespace lrqat::train
