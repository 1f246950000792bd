#include "lrqat/cli/failure.h"

#include <c10/util/Exception.h>

#include <filesystem>
#include <new>
#include <stdexcept>
#include <system_error>

#include "lrqat/base/error.h"
#include "lrqat/base/json.h"
#include "lrqat/base/user_text.h"

namespace lrqat::cli {
namespace {

constexpr const char* kOurBug = " (this is a bug in lrqat, please report it with the command line)";

std::string out_of_memory(const std::string& where) {
  return concat("not enough ", where,
                "memory: `lrqat plan` says what a recipe needs; a smaller --batch-size, "
                "--sequence-length or --context needs less, and so do other programs that are ended");
}

// LibTorch's texts begin with a sentence; source lines and stacks follow.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string of_libtorch(const c10::Error& error) {
  const std::string text = first_line(error.what_without_backtrace());
  if (text.find("DefaultCPUAllocator") != std::string::npos ||
      text.find("can't allocate memory") != std::string::npos)
    return out_of_memory("");
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr) return out_of_memory("GPU ");
  return concat("LibTorch cannot do what was asked: ", text, kOurBug);
}

std::string of_file_system(const std::filesystem::filesystem_error& error) {
  const std::string path = error.path1().string();
  return concat(path, path.empty() ? "" : ": ", error.code().message());
}

// "[json.exception.type_error.302] type must be …" without what stands in brackets.
std::string of_json(const nlohmann::json::exception& error) {
  const std::string text = error.what();
  const std::size_t end = text.find("] ");
  return concat("a JSON file does not hold what it should: ",
                end == std::string::npos ? text : text.substr(end + 2));
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
  } catch (const nlohmann::json::exception& error) {
    return {1, of_json(error)};
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
  failure.message = readable(failure.message);
  return failure;
}

}  // namespace lrqat::cli
