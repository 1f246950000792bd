// What a run writes down while it trains: metrics.jsonl (one JSON object a line) and TensorBoard events, and
// layers.jsonl (one object a layer and evaluation).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lrqat/base/json.h"

namespace lrqat::train {

class TensorBoardWriter;

// The lines of the last step in a run's layers.jsonl, by layer; empty where there is none.
std::map<std::string, Json> last_layer_report(const std::filesystem::path& run);

class MetricsWriter {
 public:
  // In `run`: metrics.jsonl, layers.jsonl and events.out.tfevents.*. A resumed run goes on after step
  // `resumed_step`: later lines of the .jsonl files are dropped (these steps are taken again), and
  // TensorBoard is told to drop them (a session_log START). resumed_step < 0: a new run, both start empty.
  MetricsWriter(const std::filesystem::path& run, std::int64_t resumed_step);
  ~MetricsWriter();

  // Writes {"step": step, "time": seconds since the epoch, …values} and one scalar a value ("train/loss"
  // becomes the TensorBoard tag as it is). Flushed at once, so that a killed run loses nothing. A value that
  // is not finite is written as null.
  void log(std::int64_t step, const std::map<std::string, double>& values);
  // Writes {"step": step, "layer": name, …values} for each layer.
  void log_layers(std::int64_t step,
                  const std::vector<std::pair<std::string, std::map<std::string, double>>>& layers);

 private:
  std::filesystem::path path_, layers_path_;
  std::unique_ptr<TensorBoardWriter> tensorboard_;
};

}  // namespace lrqat::train
