// lrqat convert: a run's trained parameters to integers and scales, once.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "lrqat/base/error.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/flags.h"
#include "lrqat/model/converted.h"
#include "lrqat/model/open.h"
#include "lrqat/model/output.h"

namespace lrqat::cli {
namespace {

struct ConvertFlags {
  std::string run;
  std::string out;
  bool force = false;
  bool round_adapters = false;
};

void run_convert(const ConvertFlags& flags, Context& context) {
  model::check_output(flags.out, model::OutputKind::folder, flags.force, {flags.run});
  const model::OpenedModel model = model::open_model(flags.run);
  if (model.source == nullptr)
    fail(flags.run, ": is a ", model.kind, " model already; --run takes a training run");
  model::check_output(flags.out, model::OutputKind::folder, flags.force, model::inputs_of(model));
  if (!model.unfinished.empty()) context.progress.message("warning: " + model.unfinished);
  if (flags.round_adapters) model::round_adapters(*model.decoder);
  const auto summary = model::save_converted(*model.decoder, *model.source, flags.out, flags.force);
  Json layers = Json::array();
  for (const model::ConvertedLayer& layer : summary.layers) layers.push_back(model::to_json(layer));
  const Json json{{"path", flags.out}, {"layers", layers}, {"sha256", summary.sha256}};
  if (context.options.json) return context.print_json(json);
  std::cout << flags.out << ": " << summary.layers.size() << " linears as integers, sha256 " << summary.sha256
            << "\n";
}

}  // namespace

Action declare_convert(CLI::App& command) {
  auto flags = std::make_shared<ConvertFlags>();
  command.add_option("--run", flags->run, "the run to convert (its best or last checkpoint)")->required();
  add_out(command, flags->out, "the folder to write: integers and scales as safetensors");
  command.add_flag("--round-adapters", flags->round_adapters,
                   "--method qlora: round the sum of integers and adapters to the grid (another model)");
  command.add_flag("--force", flags->force, "replace a folder that lrqat wrote before");
  return [flags](Context& context) { run_convert(*flags, context); };
}

}  // namespace lrqat::cli
