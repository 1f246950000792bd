// TensorBoard's event files, written directly: a file is a chain of records, a record one protobuf message
// Event.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace lrqat::train {

// CRC-32C (Castagnoli, RFC 3720) and the masked form in which records store it.
std::uint32_t crc32c(std::string_view data);
std::uint32_t masked_crc32c(std::string_view data);

class TensorBoardWriter {
 public:
  // A new file events.out.tfevents.* in `folder`, named after the files that are there. first_step >= 0: the
  // run goes on there, and TensorBoard is told to forget what older files say about this step and later ones.
  TensorBoardWriter(const std::filesystem::path& folder, double wall_time, std::int64_t first_step);
  ~TensorBoardWriter();
  TensorBoardWriter(const TensorBoardWriter&) = delete;
  TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;

  // One event with a simple value a tag; on disk when this returns. wall_time in seconds since the epoch.
  void add_scalars(double wall_time, std::int64_t step, const std::map<std::string, double>& values);

 private:
  void write_record(const std::string& event);

  std::filesystem::path path_;
  std::FILE* file_;
};

// Removes the event files in `folder` that a TensorBoardWriter made.
void remove_event_files(const std::filesystem::path& folder);

}  // namespace lrqat::train
