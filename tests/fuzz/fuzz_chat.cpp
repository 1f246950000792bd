// Any bytes as a chat template: refused with lrqat::Error, or the conversation's text, the same with and
// without its origins, whose spans lie inside of it.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lrqat/base/json.h"
#include "lrqat/chat/answers.h"

namespace {

using namespace lrqat::chat;

const lrqat::OrderedJson& messages() {
  static const auto parsed = lrqat::parse_ordered_json(
      R"([{"role": "system", "content": "Be br\u00efef."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
          {"role": "assistant", "content": "<think>x</think> Hello!", "tool_calls": [{"type": "function", "id": "a",
           "function": {"name": "f", "arguments": {"x": [1, 2.5, null, true, {"y": "z"}]}}}]},
          {"role": "tool", "content": "5"}, {"role": "assistant", "content": null}])",
      "fuzz");
  return parsed;
}

void check(const std::vector<Span>& spans, const std::string& text) {
  std::size_t end = 0;
  for (const Span& span : spans) {
    if (span.begin < end || span.end <= span.begin || span.end > text.size()) std::abort();
    end = span.end;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const ChatTemplate chat_template({reinterpret_cast<const char*>(data), size}, "fuzz");
    RenderOptions options;
    options.limits.steps = 100'000;
    options.limits.bytes = 10'000'000;
    options.now = std::tm{};
    options.now->tm_mday = 1;
    options.tools = messages();
    const std::string text = chat_template.render(messages(), options);
    const Rendered rendered = chat_template.render_tracked(messages(), options);
    if (rendered.text != text) std::abort();
    check(rendered.generation, text);
    for (const auto& spans : rendered.messages) check(spans, text);
    find_answers(chat_template, messages(), options);
  } catch (const lrqat::Error&) {
  }
  return 0;
}
