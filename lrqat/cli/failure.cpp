#include "lrqat/cli/failure.h"

#include <c10/util/Exception.h>

#include <filesystem>
#include <new>
#include <stdexcept>
#include <system_error>

#include "lrqat/base/error.h"
#include "lrqat/base/field_names.h"
#include "lrqat/base/json.h"
#include "lrqat/base/memory.h"
#include "lrqat/base/user_text.h"

namespace lrqat::cli {
namespace {

constexpr const char* kOurBug = " (this is a bug in lrqat, please report it with the command line)";

std::string out_of_memory(const std::string& where) {
  return concat("not enough ", where,
                "memory: `lrqat plan` says what a recipe needs; a smaller --batch-size, "
                "--sequence-length or --context needs less, and so do other programs that are ended");
}

// LibTorch's texts begin with a sentence; source lines and stacks follow. Some begin with where the check
// stands, in brackets.
std::string first_sentence(const std::string& text) {
  if (text.find("INTERNAL ASSERT FAILED") != std::string::npos) return "a check of its own fails";
  const std::string line = text.substr(0, text.find('\n'));
  const std::size_t end = line.starts_with('[') ? line.find("] ") : std::string::npos;
  return end == std::string::npos ? line : line.substr(end + 2);
}

std::string of_libtorch(const c10::Error& error) {
  if (is_out_of_memory(error)) return out_of_memory("");
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr) {
    const bool gpu = std::string(error.what_without_backtrace()).find("CUDA") != std::string::npos;
    return out_of_memory(gpu ? "GPU " : "");
  }
  return concat("internal error: LibTorch refuses an operation: ",
                quote(first_sentence(error.what_without_backtrace())), kOurBug);
}

std::string of_file_system(const std::filesystem::filesystem_error& error) {
  const std::string path = error.path1().string();
  return concat(path, path.empty() ? "" : ": ", error.code().message());
}

Failure describe() {
  try {
    throw;
  } catch (const UsageError& error) {
    return {2, error.what()};
  } catch (const Error& error) {
    return {1, error.what()};
  } catch (const InternalError& error) {
    return {1, error.what()};
  } catch (const c10::Error& error) {
    return {1, of_libtorch(error)};
  } catch (const nlohmann::json::exception&) {
    return {1, concat("internal error: a JSON document was read without a check of what it holds; `lrqat "
                      "inspect` on the files that were named may tell which is damaged",
                      kOurBug)};
  } catch (const std::filesystem::filesystem_error& error) {
    return {1, of_file_system(error)};
  } catch (const std::system_error& error) {
    return {1, concat("the system refuses: ", error.code().message())};
  } catch (const std::bad_alloc&) {
    return {1, out_of_memory("")};
  } catch (const std::length_error&) {
    return {1, out_of_memory("")};
  } catch (const std::out_of_range&) {
    return {1, concat("internal error: an index out of range", kOurBug)};
  } catch (...) {
    return {1, concat("internal error: an exception that nothing expects", kOurBug)};
  }
}

}  // namespace

Failure describe_failure() {
  Failure failure = describe();
  failure.message = readable(with_field_names(failure.message, "--"));
  return failure;
}

}  // namespace lrqat::cli
