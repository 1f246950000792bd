#include "lrqat/model/open.h"

#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/model/converted.h"
#include "lrqat/model/load_packed.h"
#include "lrqat/model/packed_config.h"
#include "lrqat/model/tokenizer_files.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;

OpenedModel open_converted(const fs::path& path, const LoadOptions& options) {
  return {"converted", path, load_converted(path, options), nullptr, path};
}

OpenedModel open_packed(const fs::path& path, const LoadOptions& options) {
  return {"packed", path, load_packed(path, options), nullptr, path};
}

// The last row: its errors say what a model can be.
OpenedModel open_float(const fs::path& path, const LoadOptions& options) {
  SharedSource source(formats::open_weight_source(path));
  auto decoder = load_float_model(source, options);
  const std::string kind = source->kind();
  return {kind, path, std::move(decoder), std::move(source), path};
}

std::vector<ModelOpener>& openers() {
  static std::vector<ModelOpener> table = {
      {"converted", is_converted_folder, open_converted},
      {"packed", is_packed_folder, open_packed},
      {"float", [](const fs::path&) { return true; }, open_float},
  };
  return table;
}

}  // namespace

const text::Tokenizer& OpenedModel::tokenizer() const {
  if (!tokenizer_) tokenizer_ = load_model_tokenizer(tokenizer_path);
  return *tokenizer_;
}

void add_model_opener(ModelOpener opener) { openers().insert(openers().begin(), std::move(opener)); }

OpenedModel open_model(const fs::path& path, const LoadOptions& options) {
  for (const ModelOpener& opener : openers()) {
    if (opener.recognises(path)) return opener.open(path, options);
  }
  internal_error(__FILE__, __LINE__, "the last row takes everything", path.string());
}

}  // namespace lrqat::model
