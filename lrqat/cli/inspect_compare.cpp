#include "lrqat/cli/inspect_compare.h"

#include <iomanip>
#include <iostream>

#include "lrqat/export/compare.h"
#include "lrqat/model/open.h"

namespace lrqat::cli {
namespace {

Json to_json(const exporting::TensorDifference& difference) {
  return {{"name", difference.name},
          {"what", difference.what},
          {"elements", difference.elements},
          {"largest_difference", difference.largest_difference}};
}

void print_text(const exporting::Comparison& comparison) {
  for (const auto& difference : comparison.differing) {
    std::cout << std::left << std::setw(52) << difference.name << " " << difference.what << ", "
              << difference.elements << " elements, by up to " << difference.largest_difference << "\n";
  }
  if (comparison.differing.empty()) {
    std::cout << "all " << comparison.tensors << " tensors are the same\n";
  } else {
    std::cout << comparison.differing.size() << " of " << comparison.tensors << " tensors differ, by up to "
              << comparison.largest_difference << "\n";
  }
}

}  // namespace

void run_compare(const std::filesystem::path& a, const std::filesystem::path& b, Context& context) {
  const model::OpenedModel one = model::open_model(a), other = model::open_model(b);
  const auto comparison = exporting::compare_models(*one.decoder, *other.decoder, context.progress);
  if (!context.options.json) return print_text(comparison);
  Json differing = Json::array();
  for (const auto& difference : comparison.differing) differing.push_back(to_json(difference));
  context.print_json({{"a", a.string()},
                      {"b", b.string()},
                      {"equal", comparison.differing.empty()},
                      {"tensors", comparison.tensors},
                      {"differing", differing},
                      {"largest_difference", comparison.largest_difference}});
}

}  // namespace lrqat::cli
