// Which fields of a recipe its method reads: one that is given and changes nothing is refused, not ignored,
// unless its value asks for nothing (0, false).
#pragma once

#include <string>
#include <vector>

#include "lrqat/train/recipe.h"

namespace lrqat::train {

// Why a field does nothing in this recipe, for the user; empty: it is read.
std::string why_unused(const Recipe& recipe, const std::string& field);

// UsageError naming the first of the fields that does nothing, or the override with such a field.
void check_fields_are_used(const Recipe& recipe, const std::vector<std::string>& fields);

}  // namespace lrqat::train
