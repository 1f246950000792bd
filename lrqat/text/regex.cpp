#include "lrqat/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <new>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"

namespace lrqat::text {
namespace {

constexpr std::size_t kJitStackStart = 64 << 10;
constexpr std::size_t kJitStackLimit = 64 << 20;
// Backtracking steps before PCRE2 gives up. A sane pattern needs a few for each byte; this bounds a
// pathological one to about a second.
constexpr std::uint32_t kMatchLimit = 100'000'000;

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// What matching needs besides the pattern, one set a thread; one pair of offsets is all that we read.
struct MatchState {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackStart, kJitStackLimit, nullptr);

  MatchState() {
    if (data == nullptr || context == nullptr || stack == nullptr) throw std::bad_alloc();
    pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_match_limit(context, kMatchLimit);
  }
  ~MatchState() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;
};

MatchState& match_state() {
  thread_local MatchState state;
  return state;
}

pcre2_code* compile(const std::string& pattern, const std::string& where) {
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, context.get());
  if (code == nullptr) {
    fail(where, ": regular expression ", quote(pattern), " is not valid at offset ", offset, ": ",
         pcre2_message(error));
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where it cannot, pcre2_match interprets
  return code;
}

}  // namespace

Regex::Regex(const std::string& pattern, std::string where)
    : code_(compile(pattern, where), [](pcre2_code* code) { pcre2_code_free(code); }),
      where_(std::move(where)) {}

std::optional<Span> Regex::find(std::string_view subject, std::size_t from) const {
  MatchState& state = match_state();
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const auto* text = reinterpret_cast<PCRE2_SPTR>(subject.data());
  int result = pcre2_match(code, text, subject.size(), from, PCRE2_NO_UTF_CHECK, state.data, state.context);
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its stack on the heap
    result = pcre2_match(code, text, subject.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, state.data,
                         state.context);
  }
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0) {
    fail(where_, ": the regular expression gave up at byte ", from, " of a text of ", subject.size(),
         " bytes: ", pcre2_message(result), ". Split the text into shorter parts or use a simpler pattern.");
  }
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(state.data);
  return Span{offsets[0], offsets[1]};
}

}  // namespace lrqat::text
