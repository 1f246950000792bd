// Every field of a recipe with every method: what is accepted changes the run, what is refused would not
// have.
#include "lrqat/train/field_use.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/json.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/run_training.h"
#include "tests/model/fixtures.h"

namespace lrqat::train {
namespace {

namespace fs = std::filesystem;
using Settings = std::map<std::string, std::string>;

const std::vector<std::string> kMethods{"lr-qat", "l4q", "lsq", "peqa", "qlora", "lora", "rtn"};

// Fields that decide what is read, how a run goes about it, or what is measured: not what it computes. (Each
// of these is tested where that is: tests/cli.)
const std::set<std::string> kNotInTheResult{
    "model",         "data",          "eval-data",     "teacher",    "data-format",  "eval-data-format",
    "teacher-cache", "teacher-top-k", "method",        "eval-every", "eval-context", "eval-windows",
    "checkpointing", "map-frozen",    "memory-budget", "save-every", "save-minutes", "seed"};

// Accepted though this model and these values show nothing of it.
bool shows_elsewhere(const std::string& method, const std::string& field) {
  return (method == "rtn" && (field == "activation-bits" || field == "down-activation-bits" ||
                              field == "kv-bits")) ||      // where it is run
         (method == "lora" && field == "init") ||          // it has one start, whatever it is called
         (method == "rtn" && field == "compute-dtype") ||  // of measuring and calibrating
         ((method == "rtn" || method == "qlora") && field == "scale-domain");  // of scales below 1e-8
}

// A value beside the usual one, and the other fields that give it something to do.
struct Trial {
  std::string value;
  Settings beside = {};
};

const std::map<std::string, std::vector<Trial>>& trials() {
  static const Settings kGptq{{"init", "gptq"}}, kBlocks{{"init", "blockwise"}},
      kStatic{{"activation-bits", "8"}, {"activation-range", "static"}};
  static const std::map<std::string, std::vector<Trial>> table{
      {"held-out", {{"0.3"}}},
      {"bits", {{"3"}}},
      {"target-bpw", {{"6"}}},
      {"for", {{"compressed-tensors", {{"granularity", "auto"}}}}},
      {"granularity", {{"channel"}}},
      {"phi", {{"float16"}}},
      {"rank", {{"2"}}},
      {"lora-alpha", {{"64"}}},
      {"range", {{"minmax"}, {"minmax", {{"init", "rtn"}}}, {"lp:2", {{"init", "lp"}}}}},
      {"scale-domain", {{"log"}, {"linear"}}},
      {"scale-type", {{"bfloat16"}}},
      {"learn-scale", {{"false"}}},
      {"symmetric", {{"false"}}},
      {"init", {{"rtn", {{"range", "lp:2"}}}}},
      {"svd-steps", {{"2", {{"init", "svd"}}}, {"2"}}},
      {"calibration-tokens", {{"32", kGptq}, {"32"}}},
      {"gptq-damping", {{"0.5", kGptq}, {"0.5"}}},
      {"gptq-act-order", {{"false", kGptq}, {"false"}}},
      {"block-steps", {{"3", kBlocks}, {"3"}}},
      {"block-batch-size", {{"2", kBlocks}, {"2"}}},
      {"block-lr", {{"0.5", kBlocks}, {"0.5"}}},
      {"block-range-lr", {{"0.5", kBlocks}, {"0.5"}}},
      {"faithful-downcast", {{"true"}, {"true", {{"init", "lp"}}}}},
      {"weight-dtype", {{"float32"}}},
      {"learn-offset", {{"true"}}},
      {"gradient-scaling", {{"false", {{"scale-lr", "0.01"}, {"clip-norm", "0"}}}}},
      {"rotations", {{"r4"}}},
      {"overrides", {{"*.q_proj skip"}}},
      {"activation-bits", {{"8"}}},
      {"down-activation-bits", {{"8"}}},
      {"kv-bits", {{"8"}}},
      {"activation-range", {{"static", {{"activation-bits", "8"}}}, {"static"}}},
      {"learn-activation-range", {{"true", kStatic}}},
      {"activation-batches", {{"1", kStatic}, {"1"}}},
      {"steps", {{"1"}}},
      {"batch-size", {{"2"}, {"2", kStatic}}},
      {"sequence-length", {{"16"}, {"16", kGptq}}},
      {"gradient-accumulation", {{"2"}}},
      {"lr", {{"0.01"}}},
      {"scale-lr", {{"0.01"}, {"0.01", {{"learn-scale", "false"}}}}},
      {"train-norms", {{"true"}}},
      {"train-head", {{"true"}}},
      {"train-embeddings", {{"true"}}},
      {"float-lr", {{"0.01", {{"train-norms", "true"}}}, {"0.01"}}},
      {"weight-decay", {{"0.5"}}},
      {"beta1", {{"0.5"}}},
      {"beta2", {{"0.5"}}},
      {"schedule", {{"constant"}}},
      {"warmup", {{"2"}}},
      {"clip-norm", {{"0.001"}}},
      {"clip-together",
       {{"true", {{"clip-norm", "0.001"}, {"train-norms", "true"}}}, {"true", {{"clip-norm", "0"}}}}},
      {"distill-weight", {{"1"}}},
      {"distill-temperature", {{"2", {{"distill-weight", "1"}}}, {"2", {{"distill-weight", "0"}}}}},
      {"compute-dtype", {{"bfloat16"}}}};
  return table;
}

class FieldUse : public ::testing::Test {
 protected:
  FieldUse() {
    at::set_num_threads(1);  // hundreds of tiny runs, which threads make no quicker
    std::ofstream text(folder_.path() / "text.txt");
    for (int i = 0; i < 80; ++i) text << "Line " << i * 37 % 101 << " says " << i * i % 89 << ".\n";
    const fs::path data(LRQAT_TEST_DATA);
    fs::copy(data / "golden" / "tiny_llama", folder_.path() / "tiny");
    write_text_file(folder_.path() / "tiny" / "tokenizer.json", json_text(byte_tokenizer()));
  }

  // A token a byte of ASCII.
  static Json byte_tokenizer() {
    Json vocabulary = Json::object();
    for (int byte = 0; byte < 128; ++byte) {
      const bool printable = byte > 32 && byte < 127;
      const int code = printable ? byte : 256 + (byte < 127 ? byte : 33);  // GPT-2's alphabet
      std::string piece;
      if (code < 128) {
        piece = static_cast<char>(code);
      } else {
        piece = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
      }
      vocabulary[piece] = byte;
    }
    return {{"version", "1.0"},
            {"added_tokens", Json::array()},
            {"normalizer", nullptr},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
            {"post_processor", nullptr},
            {"decoder", {{"type", "ByteLevel"}}},
            {"model",
             {{"type", "BPE"}, {"unk_token", nullptr}, {"vocab", vocabulary}, {"merges", Json::array()}}}};
  }

  static void set(Recipe& recipe, const Settings& settings) {
    for (const auto& [name, value] : settings) recipe_field(name).parse(recipe, {value});
  }

  // Two short steps, from a start that takes no time.
  Recipe usual(const std::string& method) const {
    Recipe recipe = method_defaults(method);
    set(recipe, {{"model", (folder_.path() / "tiny").string()},
                 {"data", (folder_.path() / "text.txt").string()},
                 {"granularity", "group:32"},
                 {"init", "range"},
                 {"rank", "4"},
                 {"calibration-tokens", "256"},
                 {"activation-batches", "4"},
                 {"steps", "2"},
                 {"batch-size", "1"},
                 {"sequence-length", "24"},
                 {"held-out", "0"},
                 {"distill-weight", "0"},
                 {"compute-dtype", "float32"}});
    return recipe;
  }

  // Everything that the run computes: its tensors, or why there are none.
  std::string outcome(const Recipe& recipe) {
    const fs::path run = folder_.path() / concat("run-", runs_++);
    SilentProgress silent;
    try {
      train(recipe, {.run = run}, silent);
    } catch (const Error& error) {
      return concat("refused: ", error.what());
    }
    std::string out = read_text_file(run / "prepared.safetensors");
    const fs::path checkpoints = run / "checkpoints";
    if (fs::exists(checkpoints / "index.json")) {
      const Json index = read_json_file(checkpoints / "index.json");
      out += read_text_file(checkpoints / index["last"].get<std::string>() / "trainables.safetensors");
    }
    fs::remove_all(run);
    return out;
  }

  std::string cached_outcome(const Recipe& recipe) {
    std::string& known = known_[print_recipe(recipe)];
    if (known.empty()) known = outcome(recipe);
    return known;
  }

  model::testing::TemporaryFolder folder_;
  std::map<std::string, std::string> known_;
  int runs_ = 0;
};

TEST_F(FieldUse, AcceptedFieldsChangeTheRunAndRefusedOnesDoNot) {
  int accepted = 0, refused = 0;
  for (const RecipeField& field : recipe_fields()) {
    if (kNotInTheResult.contains(field.name)) continue;
    ASSERT_TRUE(trials().contains(field.name))
        << field.name << " needs a trial here and a row in field_use.cpp";
    for (const std::string& method : kMethods) {
      for (const Trial& trial : trials().at(field.name)) {
        Recipe before = usual(method);
        set(before, trial.beside);
        Recipe after = before;
        set(after, {{field.name, trial.value}});
        if (field.print(before) == field.print(after)) continue;
        const std::string why = why_unused(after, field.name);
        const std::string usual_outcome = cached_outcome(before);
        if (why.empty() && usual_outcome.starts_with("refused: "))
          continue;  // what stands beside is no setting
        const bool same = usual_outcome == outcome(after);
        const std::string what = concat(method, ": ", field.name, " ", trial.value, ": ", why);
        why.empty() ? ++accepted : ++refused;
        if (!why.empty()) {
          // What the method has no use for may also be refused as a setting.
          EXPECT_TRUE(same || outcome(after).starts_with("refused: ")) << what;
          EXPECT_THROW(check_fields_are_used(after, {field.name}), UsageError) << what;
        } else if (!same || shows_elsewhere(method, field.name)) {
          EXPECT_NO_THROW(check_fields_are_used(after, {field.name})) << what;
        } else {
          // Accepted and without effect: only a value that asks for nothing may be.
          EXPECT_TRUE(trial.value == "false" || trial.value == "0" || trial.value == "auto") << what;
        }
      }
    }
  }
  EXPECT_GT(accepted, 150);
  EXPECT_GT(refused, 80);
}

// The same holds for what is said of single linears.
TEST_F(FieldUse, OverridesAreHeldToIt) {
  const auto refused = [&](const std::string& method, const Settings& settings, const std::string& text) {
    Recipe recipe = usual(method);
    set(recipe, settings);
    recipe_field("overrides").parse(recipe, {text});
    try {
      check_fields_are_used(recipe, {"overrides"});
      return std::string();
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
  };
  const std::map<std::string, std::string> values{
      {"bits", "3"},      {"granularity", "channel"},    {"symmetric", "false"},  {"phi", "float16"},
      {"rank", "2"},      {"faithful-downcast", "true"}, {"lora-alpha", "2"},     {"range", "minmax"},
      {"svd-steps", "2"}, {"weight-dtype", "float32"},   {"learn-offset", "true"}};
  for (const std::string& method : kMethods) {
    for (const auto& [name, value] : values) {
      Recipe alone = usual(method);
      set(alone, {{name, value}});
      const std::string why = why_unused(alone, name);
      const std::string said = refused(method, {}, concat("*.q_proj ", name, "=", value));
      EXPECT_EQ(said.empty(), why.empty()) << method << " " << name << ": " << said;
      if (why.empty()) continue;
      EXPECT_NE(said.find("`overrides` \"*.q_proj " + name), std::string::npos) << said;
      EXPECT_NE(said.find(why), std::string::npos) << said;
    }
  }
  EXPECT_EQ(refused("lr-qat", {{"init", "svd"}}, "*.q_proj svd-steps=2"), "");
  EXPECT_EQ(refused("lr-qat", {}, "*.q_proj init=svd svd-steps=2"), "");
  EXPECT_EQ(refused("lr-qat", {}, "*.q_proj skip"), "");
  Recipe recipe = usual("lsq");
  recipe_field("overrides").parse(recipe, {"*.q_proj init=svd"});
  EXPECT_THROW(validate(recipe), UsageError);
}

}  // namespace
}  // namespace lrqat::train
