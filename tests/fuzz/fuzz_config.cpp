// Any bytes as a config.json: refused with lrqat::Error, or read into a config that survives being written.
#include <string_view>

#include "fuzz_input.h"
#include "lrqat/base/json.h"
#include "lrqat/formats/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto config =
        lrqat::formats::config_from_json(lrqat::parse_json(text, "config.json"), "config.json");
    const auto again = lrqat::formats::config_from_json(lrqat::formats::config_to_json(config), "again");
    if (!(config == again)) std::abort();
  } catch (const lrqat::Error&) {
  }
  return 0;
}
