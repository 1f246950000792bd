#include "lrqat/start/layer_pass.h"

#include <ATen/ATen.h>

#include <memory>
#include <utility>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/json.h"
#include "lrqat/base/memory.h"
#include "lrqat/base/sha256.h"

namespace lrqat::start {
namespace {

namespace fs = std::filesystem;

constexpr const char* kState = "pass.json";
constexpr const char* kLock = "pass.lock";

// Shows one linear's inputs for as long as it lives.
class Observation {
 public:
  Observation(nn::Linear& linear, const SeeInput& see) : linear_(linear) { linear_.set_input_observer(see); }
  ~Observation() { linear_.set_input_observer({}); }
  Observation(const Observation&) = delete;
  Observation& operator=(const Observation&) = delete;

 private:
  nn::Linear& linear_;
};

// Of everything that decides the hidden states.
std::string identity_of(const model::Decoder& decoder, std::span<const at::Tensor> batches,
                        const LayerPassOptions& options) {
  Sha256 hash;
  const auto add_text = [&](const std::string& text) { hash.update(std::as_bytes(std::span(text))); };
  add_text(concat(decoder.num_layers(), " ", decoder.config().hidden_size, " ", options.targets, " ",
                  options.key, "\n"));
  for (const at::Tensor& batch : batches) {
    const at::Tensor tokens = batch.to(at::kCPU, at::kLong).contiguous();
    add_text(concat(tokens.size(0), " ", tokens.size(1), "\n"));
    hash.update({static_cast<const std::byte*>(tokens.const_data_ptr()), tokens.nbytes()});
  }
  return hash.hex_digest();
}

}  // namespace

at::Tensor Block::input(std::size_t batch) const {
  LRQAT_CHECK(!moved_);
  return student_.get(batch);
}

at::Tensor Block::target(std::size_t batch) const {
  LRQAT_CHECK(target_ != nullptr, "a pass without targets");
  return target_->get(batch);
}

at::Tensor Block::run(model::LayerHalf half, const at::Tensor& hidden) const {
  if (half == model::LayerHalf::feed_forward) return layer().feed_forward(hidden);
  return layer().attend(hidden, decoder_.rotary(index_), 0, nullptr);
}

void Block::observe(const std::function<void(std::size_t group, const at::Tensor& x)>& see) const {
  const auto groups = layer().linear_groups();
  std::vector<std::unique_ptr<Observation>> observations;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    observations.push_back(std::make_unique<Observation>(*groups[i].linears.front(),
                                                         [&see, i](const at::Tensor& x) { see(i, x); }));
  }
  for (std::size_t batch = 0; batch < batches(); ++batch) forward(input(batch));
}

// A norm reads what goes into its half of the layer; other inputs are seen while that half runs.
void Block::for_each_input(const model::LinearGroup& group, const SeeInput& see) const {
  const nn::RmsNorm* norm = group.producer.norm;
  if (norm != nullptr) {
    for (std::size_t i = 0; i < batches(); ++i)
      see(norm->forward(student_.get(i)).reshape({-1, group.in_features()}));
    return;
  }
  const Observation observation(*group.linears.front(), see);
  for (std::size_t i = 0; i < batches(); ++i) run(group.half, student_.get(i));
}

void Block::prepare_in_order(const PrepareGroup& prepare) {
  LRQAT_CHECK(!moved_);
  const auto groups = layer().linear_groups();
  const bool last = index_ + 1 == decoder_.num_layers();
  moved_ = true;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const model::LayerHalf half = groups[i].half;
    prepare(groups[i], [&](const SeeInput& see) { for_each_input(groups[i], see); });
    const bool half_ends = i + 1 == groups.size() || groups[i + 1].half != half;
    if (!half_ends || (last && i + 1 == groups.size())) continue;
    student_.update([&](const at::Tensor& hidden) { return run(half, hidden); });
  }
}

LayerPass::LayerPass(model::Decoder& decoder, std::span<const at::Tensor> batches, LayerPassOptions options)
    : decoder_(decoder), options_(std::move(options)) {
  const at::NoGradGuard no_grad;
  fs::path folder = options_.folder;
  if (!folder.empty()) {
    open_folder();
    identity_ = identity_of(decoder, batches, options_);
    if (temporary_) folder = temporary_->path();
  }
  std::vector<std::int64_t> sequences;
  for (const at::Tensor& batch : batches) sequences.push_back(batch.size(0));
  student_.emplace(sequences, folder, "student", decoder.device());
  if (options_.targets) float_.emplace(sequences, folder, "float", decoder.device());
  if (!go_on()) begin(batches);
}

void LayerPass::open_folder() {
  if (!options_.resumable) {
    temporary_.emplace(options_.folder, Temporary::Kind::folder);
    return;
  }
  std::error_code code;
  fs::create_directories(options_.folder, code);
  if (code) fail("cannot create folder ", options_.folder.string(), ": ", code.message());
  lock_ = FileLock::try_lock(options_.folder / kLock);
  if (!lock_) fail(options_.folder.string(), ": another program is calibrating in this folder");
}

void LayerPass::begin(std::span<const at::Tensor> batches) {
  const auto embed = [&](std::size_t i) { return decoder_.embed(batches[i].to(decoder_.device())); };
  student_->fill(embed);
  if (float_) float_->fill(embed);
  save_state();
}

bool LayerPass::go_on() {
  const fs::path path = options_.folder / kState;
  if (!options_.resumable || options_.folder.empty() || !fs::exists(path)) return false;
  const Json state = read_json_file(path);
  const std::string where = path.string();
  if (json_get<std::string>(state, "identity", where) != identity_) {
    fail(where,
         ": a pass over other calibration text, another model or with another recipe was begun here; "
         "remove the folder, or take another one");
  }
  next_ = json_get<std::int64_t>(state, "next", where);
  if (next_ < 0 || next_ > decoder_.num_layers()) fail(where, ": the model has no block ", next_);
  student_->open_kept(json_get<std::int64_t>(state, "student", where));
  if (float_) float_->open_kept(json_get<std::int64_t>(state, "float", where));
  return true;
}

// In one step: a kill before it repeats the block, one after it goes on behind it.
void LayerPass::save_state() const {
  if (!lock_) return;
  const Json state{{"identity", identity_},
                   {"next", next_},
                   {"student", student_->version()},
                   {"float", float_ ? float_->version() : 0}};
  write_text_file(options_.folder / kState, json_text(state, 2) + "\n");
}

void LayerPass::run(const std::function<void(Block& block)>& visit, ProgressReporter& progress) {
  const at::NoGradGuard no_grad;
  progress.start("calibrate", (decoder_.num_layers() - next_) * options_.steps);
  walk(decoder_.num_layers(), options_.steps, visit, progress);
  finish();
  progress.finish();
}

void LayerPass::repeat(std::int64_t end, const std::function<void(Block& block)>& visit,
                       ProgressReporter& progress) {
  const at::NoGradGuard no_grad;
  progress.start("go on", end - next_);
  walk(end, /*steps=*/1, visit, progress);
  progress.finish();
}

void LayerPass::walk(std::int64_t end, std::int64_t steps, const std::function<void(Block& block)>& visit,
                     ProgressReporter& progress) {
  const std::int64_t first = next_;
  while (next_ < end) {
    const std::int64_t done = (next_ - first) * steps;
    visit_block(visit, [&](std::int64_t step) {
      progress.update(done + step, concat("layer ", next_, ", step ", step));
    });
    release_free_memory();
    progress.update((next_ - first) * steps, concat("layer ", next_ - 1));
  }
}

void LayerPass::visit_block(const std::function<void(Block& block)>& visit, const Block::Report& report) {
  const bool last = next_ + 1 == decoder_.num_layers();
  const auto forward = [&](const at::Tensor& hidden) { return decoder_.layer_forward(next_, hidden); };
  if (float_) float_->update(forward);  // the block is still float
  Block block(decoder_, next_, *student_, float_ ? &*float_ : nullptr, report);
  visit(block);
  if (!block.has_moved() && !last) student_->update(forward);  // nobody reads what the last one gives
  ++next_;
  save_state();
  student_->keep();
  if (float_) float_->keep();
}

// Leaves nothing of its own in a folder that the user may have had before.
void LayerPass::finish() {
  if (!lock_) return;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(options_.folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("student-") || name.starts_with("float-") || name == kState || name == kLock)
      fs::remove_all(entry.path(), ignored);
  }
  fs::remove(options_.folder, ignored);
}

}  // namespace lrqat::start
