// The names of --init: of a start, or of a transform that a start follows.
#pragma once

#include <cstdint>
#include <string>

#include "lrqat/methods/method.h"
#include "lrqat/model/decoder.h"
#include "lrqat/start/start.h"

namespace lrqat::start {

std::string known_inits();                        // "auto, stored, … or awq"
std::string init_help();                          // every row's name and help
std::string parse_init(const std::string& name);  // the name itself; UsageError that lists the names

const Start& start_of(const std::string& init);  // of a transform: the one that follows
bool is_transform(const std::string& init);
bool needs_text(const std::string& init);

bool takes(const methods::Method& method, const std::string& init);
// UsageError that names the methods which take it, where this one does not.
void check_init(const methods::Method& method, const std::string& init);

// Most bytes at work with calibration text, besides hidden states and what is kept.
std::int64_t bytes_at_work(const std::string& init, const model::DecoderLayer& layer);

}  // namespace lrqat::start
