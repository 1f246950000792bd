#include "lrqat/train/run_record.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <span>

#include "lrqat/base/cpu.h"
#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/sha256.h"
#include "lrqat/train/fingerprint.h"
#include "lrqat/train/run_file.h"
#include "lrqat/train/toml.h"

namespace lrqat::train {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kVersion = 2;  // of run.json

// Of everything in a recipe file that decides what a run computes. Files are known by their contents (they
// may be moved), and when a run is saved changes nothing.
std::string recipe_fingerprint(const fs::path& path) {
  constexpr std::array kFree{"model",         "data",       "eval-data",    "teacher",
                             "teacher-cache", "save-every", "save-minutes", "memory-budget"};
  Sha256 hash;
  for (const TomlEntry& entry : parse_toml(read_text_file(path), path.string())) {
    if (std::find(kFree.begin(), kFree.end(), entry.key) != kFree.end()) continue;
    const std::string line = print_toml(entry) + "\n";
    hash.update(std::as_bytes(std::span(line)));
  }
  return hash.hex_digest();
}

std::string instructions() {
  const CpuFeatures& cpu = cpu_features();
  return cpu.amx_bf16      ? "amx_bf16"
         : cpu.avx512_bf16 ? "avx512_bf16"
         : cpu.avx512      ? "avx512"
         : cpu.avx2        ? "avx2"
                           : "none";
}

RunRecord record_from_json(const Json& json, const std::string& where) {
  RunRecord record;
  record.version = json_get_or<std::int64_t>(json, "version", 1, where);
  if (record.version > kVersion) {
    throw Error(concat(where, ": was written by a later lrqat (version ", record.version, ", this one knows ",
                       kVersion, ")"));
  }
  record.model = json_get<std::string>(json, "model", where);
  record.data = json_get<std::string>(json, "data", where);
  if (record.version == 1) return record;
  record.recipe = json_get<std::string>(json, "recipe", where);
  record.eval_data = json_get<std::string>(json, "eval_data", where);
  record.processor = json_get<std::string>(json, "processor", where);
  record.instructions = json_get<std::string>(json, "instructions", where);
  if (!json.contains("config") || !json["config"].is_object())
    fail(where, ": key \"config\" is missing or no object");
  record.config = json["config"];
  record.threads = json_get<int>(json, "threads", where);
  record.teacher = json_get_or<std::string>(json, "teacher", "", where);
  return record;
}

}  // namespace

RunRecord make_record(const formats::WeightSource& source, const std::string& data, const Recipe& recipe,
                      const formats::WeightSource* teacher) {
  return {.version = kVersion,
          .model = model_fingerprint(source),
          .data = data,
          .teacher = teacher == nullptr ? "" : model_fingerprint(*teacher),
          .eval_data = recipe.eval_data.empty() ? "" : data_fingerprint(recipe.eval_data),
          .config = formats::config_to_json(source.config()),
          .threads = at::get_num_threads(),
          .processor = cpu_name(),
          .instructions = instructions()};
}

void write_record(const fs::path& run, const RunRecord& record) {
  const Json json{{"version", record.version},     {"recipe", recipe_fingerprint(run / "recipe.toml")},
                  {"model", record.model},         {"config", record.config},
                  {"data", record.data},           {"eval_data", record.eval_data.value_or("")},
                  {"teacher", record.teacher},     {"threads", record.threads},
                  {"processor", record.processor}, {"instructions", record.instructions}};
  write_text_file(run / "run.json", json.dump(2) + "\n");
}

RunRecord read_record(const fs::path& run) {
  const fs::path path = run / "run.json", recipe = run / "recipe.toml";
  const RunRecord record =
      read_run_file(path, [&] { return record_from_json(read_json_file(path), path.string()); });
  if (record.recipe && *record.recipe != recipe_fingerprint(recipe)) {
    fail(recipe.string(), ": is not the recipe that this run began with", kDamaged, " of it (`config` ",
         recipe.string(), ")");
  }
  return record;
}

void check_fingerprint(const fs::path& run, const std::string& then, const std::string& now,
                       const char* what) {
  if (then == now) return;
  fail(run.string(), ": ", what,
       " is not the one that this run began with; resume with the original, or start a new run");
}

void check_model(const fs::path& run, const RunRecord& record, const formats::WeightSource& source) {
  if (record.version == 1)
    return check_fingerprint(run, record.model, model_fingerprint_1(source), "the model");
  const Json config = formats::config_to_json(source.config());
  for (const auto& [key, value] : record.config.items()) {
    if (config.value(key, Json()) == value) continue;
    fail(run.string(), ": the model's config has ", key, " ", json_excerpt(config.value(key, Json())),
         ", the one that this run began with ", json_excerpt(value),
         "; resume with the original, or start a new run");
  }
  check_fingerprint(run, record.model, model_fingerprint(source), "the model");
}

std::string other_machine(const RunRecord& record) {
  const std::string &then = record.instructions, now = instructions();
  if (then.empty() || then == now) return {};
  return concat("the run began on a processor with ", then, " (", record.processor, ") and goes on with ",
                now, ": sums may differ in their last bits");
}

}  // namespace lrqat::train
