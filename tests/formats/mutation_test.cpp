// Small valid files with bytes flipped, replaced, inserted and cut, thousands of times from one seed: a
// reader must either read the result or throw lrqat::Error. Under the sanitizers this is the fuzzers' quick
// brother.
#include <gtest/gtest.h>

#include "lrqat/base/json.h"
#include "lrqat/base/random.h"
#include "lrqat/formats/gguf.h"
#include "lrqat/formats/safetensors.h"
#include "lrqat/formats/weight_source.h"
#include "test_files.h"

namespace lrqat::formats {
namespace {

namespace fs = std::filesystem;

constexpr int kRounds = 4000;

// One to four changes, mostly within the first `header` bytes, where the structure is.
std::string mutated(std::string bytes, std::size_t header, Random& random) {
  const auto changes = 1 + random.below(4);
  for (std::uint64_t change = 0; change < changes && !bytes.empty(); ++change) {
    const std::size_t range = random.below(8) == 0 ? bytes.size() : std::min(header, bytes.size());
    const auto at = static_cast<std::size_t>(random.below(range));
    switch (random.below(6)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(random.next());
        break;
      case 2:
        bytes[at] = static_cast<char>(random.below(2) == 0 ? 0xff : 0x00);
        break;
      case 3:
        bytes.insert(at, 1 + random.below(9), static_cast<char>(random.next()));
        break;
      case 4:
        bytes.erase(at, 1 + random.below(9));
        break;
      default:
        bytes[at] = "0123456789[]{},:\"-"[random.below(18)];
        break;
    }
  }
  if (random.below(10) == 0) bytes.resize(random.below(bytes.size() + 1));
  return bytes;
}

struct Outcome {
  int read = 0;
  int refused = 0;
};

// Anything but success and lrqat::Error goes up and fails the test.
Outcome run(const std::string& good, std::size_t header, const std::function<void(const std::string&)>& read,
            int rounds = kRounds) {
  Random random(20240613);
  Outcome outcome;
  read(good);  // the starting point must be valid
  for (int round = 0; round < rounds; ++round) {
    try {
      read(mutated(good, header, random));
      ++outcome.read;
    } catch (const Error&) {
      ++outcome.refused;
    }
  }
  return outcome;
}

float sum_of(const std::vector<float>& values) {
  float sum = 0.0F;
  for (const float value : values) sum += value;
  return sum;
}

// Both outcomes must occur, or the mutations are too tame or too wild to test anything.
void expect_both(const Outcome& outcome) {
  EXPECT_GT(outcome.read, 10);
  EXPECT_GT(outcome.refused, 400);
}

TEST(Mutation, Safetensors) {
  const TemporaryFolder folder;
  SafetensorsWriter writer(folder.path() / "good.safetensors",
                           {{"a", DType::F32, {2, 3}}, {"b", DType::BF16, {5}}, {"c", DType::I8, {0}}},
                           {{"k", "v"}});
  const std::vector<float> values(6, 1.0F);
  writer.write("a", as_bytes(values));
  writer.write("b", as_bytes(values).first(10));
  writer.finish();
  const std::string good = read_bytes(folder.path() / "good.safetensors");
  volatile std::size_t touched = 0;
  expect_both(run(good, good.size() - 34, [&](const std::string& bytes) {
    const SafetensorsFile file(folder.write("m.safetensors", bytes));
    for (const TensorView& tensor : file.tensors()) {
      for (const std::byte b : tensor.data) touched = touched + std::to_integer<std::size_t>(b);
    }
  }));
}

TEST(Mutation, Gguf) {
  const TemporaryFolder folder;
  GgufWriter writer(folder.path() / "good.gguf");
  writer.set("general.architecture", std::string("llama"));
  writer.set("strings", GgufArray(std::vector<std::string>{"a", "bc"}));
  writer.set("numbers", GgufArray(std::vector<std::int32_t>{1, 2, 3}));
  writer.declare("a", GgmlType::Q4_0, {2, 32});
  writer.declare("b", GgmlType::F32, {5});
  const std::vector<std::uint8_t> data(36, 0x11);
  writer.write("a", as_bytes(data));
  writer.write("b", as_bytes(data).first(20));
  writer.finish();
  const std::string good = read_bytes(folder.path() / "good.gguf");
  volatile std::size_t touched = 0;
  expect_both(run(good, 230, [&](const std::string& bytes) {
    const GgufFile file(folder.write("m.gguf", bytes));
    for (const GgufTensor& tensor : file.tensors()) {
      for (const std::byte b : tensor.data) touched = touched + std::to_integer<std::size_t>(b);
    }
  }));
}

// The whole way from a GGUF file to float rows: metadata, names, types, shapes.
TEST(Mutation, GgufWeightSource) {
  const TemporaryFolder folder;
  const std::string good = read_bytes(fixture("tiny_llama.gguf"));
  volatile float total = 0.0F;
  const auto read = [&](const std::string& bytes) {
    const auto source = open_weight_source(folder.write("m.gguf", bytes));
    for (const std::string& name : source->names()) total = total + sum_of(source->read(name));
  };
  expect_both(run(good, 2300, read, kRounds / 4));
}

TEST(Mutation, Config) {
  const std::string good = read_bytes(fixture("tiny_llama/config.json"));
  expect_both(run(good, good.size(), [](const std::string& text) {
    const ModelConfig config = config_from_json(parse_json(text, "config.json"), "config.json");
    EXPECT_EQ(config_from_json(config_to_json(config), "again"), config);
  }));
}

TEST(Mutation, ShardIndex) {
  const TemporaryFolder folder;
  for (const auto& entry : fs::directory_iterator(fixture("tiny_llama_sharded"))) {
    fs::copy_file(entry.path(), folder.path() / entry.path().filename());
  }
  const std::string name = "model.safetensors.index.json";
  const std::string good = read_bytes(fixture("tiny_llama_sharded") / name);
  expect_both(run(good, good.size(), [&](const std::string& text) {
    folder.write(name, text);
    const ShardedSafetensors shards(folder.path());
    for (const std::string& tensor : shards.names()) shards.at(tensor);
  }));
}

}  // namespace
}  // namespace lrqat::formats
