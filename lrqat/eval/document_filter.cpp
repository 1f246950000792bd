#include "lrqat/eval/document_filter.h"

#include <algorithm>
#include <vector>

#include "lrqat/base/random.h"

namespace lrqat::eval {
namespace {

constexpr std::size_t kRun = 8;
constexpr double kMostRepeated = 0.3;
constexpr double kMostKnown = 0.5;

std::uint64_t hash_of(std::span<const std::int32_t> tokens) {
  std::uint64_t hash = tokens.size();
  for (const std::int32_t token : tokens) hash = Random(hash, static_cast<std::uint64_t>(token)).next();
  return hash;
}

std::vector<std::uint64_t> runs_of(std::span<const std::int32_t> tokens) {
  if (tokens.size() < kRun) return {hash_of(tokens)};
  std::vector<std::uint64_t> runs;
  for (std::size_t i = 0; i + kRun <= tokens.size(); ++i) runs.push_back(hash_of(tokens.subspan(i, kRun)));
  return runs;
}

}  // namespace

DocumentVerdict DocumentFilter::add(std::span<const std::int32_t> tokens) {
  if (tokens.empty()) return DocumentVerdict::empty;
  const std::vector<std::uint64_t> runs = runs_of(tokens);
  const std::unordered_set<std::uint64_t> own(runs.begin(), runs.end());
  const auto total = static_cast<double>(runs.size());
  if (static_cast<double>(runs.size() - own.size()) > kMostRepeated * total)
    return DocumentVerdict::repetition;
  const auto known =
      std::count_if(runs.begin(), runs.end(), [&](std::uint64_t r) { return seen_.contains(r); });
  if (static_cast<double>(known) > kMostKnown * total) return DocumentVerdict::duplicate;
  seen_.insert(own.begin(), own.end());
  return DocumentVerdict::kept;
}

}  // namespace lrqat::eval
