// Fingerprints: by them a run knows its model and its texts again. They cover every byte, by a hash that is
// as fast as memory: they notice changes and mistakes, not a forger.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "lrqat/formats/weight_source.h"

namespace lrqat::train {

// Of names, types, shapes and all bytes of the tensors.
std::string model_fingerprint(const formats::WeightSource& source);

// Of config, names, types, shapes and the first 4096 bytes of every tensor: what runs of version 1 began
// with.
std::string model_fingerprint_1(const formats::WeightSource& source);

// Of pieces of memory, each of its size and bytes: 64 hexadecimal digits.
std::string bytes_fingerprint(std::span<const std::span<const std::byte>> pieces);

// Of all files that an entry of `data` names (corpus/data_files.h).
std::string data_fingerprint(const std::string& entry);

}  // namespace lrqat::train
