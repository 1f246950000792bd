// The names of --init: of a start, or of a transform that a start follows.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "lrqat/methods/method.h"
#include "lrqat/model/decoder.h"
#include "lrqat/start/start.h"

namespace lrqat::start {

std::string init_help();  // every row's name and help
// "auto, stored, … or awq"; which: only those.
std::string known_inits(const std::function<bool(const std::string& init)>& which = {});
std::string parse_init(const std::string& name);  // the name itself; UsageError that lists the names

const Start& start_of(const std::string& init);  // of a transform: the one that follows
bool is_transform(const std::string& init);
bool needs_text(const std::string& init);
bool reads_text_options(const std::string& init);
bool fills_adapters(const std::string& init);  // from a decomposition
bool starts_blocks(const std::string& init);   // all linears of a block at once

// What `auto` becomes where linears can start from calibration text.
const Start& auto_from_text();

bool takes(const methods::Method& method, const std::string& init);
// UsageError that names the methods which take it, where this one does not.
void check_init(const methods::Method& method, const std::string& init);

// Most bytes at work with calibration text, besides hidden states and what is kept.
std::int64_t bytes_at_work(const std::string& init, const model::DecoderLayer& layer);

}  // namespace lrqat::start
