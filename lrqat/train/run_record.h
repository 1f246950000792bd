// What a run began with besides its recipe: RUN/run.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "lrqat/base/json.h"
#include "lrqat/formats/weight_source.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

struct RunRecord {
  std::int64_t version = 1;  // of the file; 1 said none, and nothing but fingerprints of model and data
  // Fingerprints (train/fingerprint.h); empty: the run has no such text or teacher.
  std::string model, data, teacher;
  std::optional<std::string> eval_data, recipe;  // nothing: an older run, which did not write it down
  Json config;                                   // the model's
  int threads = 0;                               // 0: not known
  std::string processor, instructions;           // the machine's
};

// Of these inputs on this machine, without the recipe's fingerprint. `data`: the fingerprint of the training
// text. teacher: null where the recipe names none.
RunRecord make_record(const formats::WeightSource& source, const std::string& data, const Recipe& recipe,
                      const formats::WeightSource* teacher = nullptr);

// Adds the fingerprint of the recipe.toml that lies in the folder `run`.
void write_record(const std::filesystem::path& run, const RunRecord& record);
// Error where the file is damaged, of a later program, or beside another recipe.toml than it was.
RunRecord read_record(const std::filesystem::path& run);

// Error, in the name of the run, where the model is another than the record's.
void check_model(const std::filesystem::path& run, const RunRecord& record,
                 const formats::WeightSource& source);
// The same of a fingerprint that does not need the model. what: "the teacher".
void check_fingerprint(const std::filesystem::path& run, const std::string& then, const std::string& now,
                       const char* what);

// Where this machine's vector instructions are not those of the record, a sentence; else empty.
std::string other_machine(const RunRecord& record);

}  // namespace lrqat::train
