#include "lrqat/chat/chat_template.h"

#include <algorithm>
#include <new>

#include "lrqat/chat/interpreter.h"
#include "lrqat/chat/strftime.h"

namespace lrqat::chat {
namespace {

constexpr const char* kReasoning[] = {"reasoning_content", "thinking", "reasoning"};

// As transformers does it: reasoning that a message has under one of its three names, a template finds under
// `reasoning_content` and `thinking`.
OrderedJson with_reasoning(const OrderedJson& message) {
  const auto is_given = [&](const char* key) { return message.contains(key) && !message[key].is_null(); };
  const auto* key = std::find_if(std::begin(kReasoning), std::end(kReasoning), is_given);
  if (key == std::end(kReasoning)) return message;
  OrderedJson out = OrderedJson::object();
  out["thinking"] = message.contains("thinking") ? message["thinking"] : message[*key];
  for (const auto& [name, value] : message.items()) out[name] = value;
  out["reasoning_content"] = message[*key];
  return out;
}

OrderedJson prepared(const OrderedJson& messages) {
  OrderedJson out = messages;
  if (!out.is_array()) return out;
  for (OrderedJson& message : out) {
    if (message.is_object()) message = with_reasoning(message);
  }
  return out;
}

bool needs_preparation(const OrderedJson& messages) {
  return messages.is_array() && std::any_of(messages.begin(), messages.end(), [](const OrderedJson& message) {
           return message.is_object() && std::any_of(std::begin(kReasoning), std::end(kReasoning),
                                                     [&](const char* key) { return message.contains(key); });
         });
}

void define_variables(Interpreter& interpreter, const OrderedJson& messages, const RenderOptions& options) {
  if (options.bos_token) interpreter.define("bos_token", *options.bos_token);
  if (options.eos_token) interpreter.define("eos_token", *options.eos_token);
  interpreter.define("tools", from_json(options.tools));
  interpreter.define("documents", from_json(options.documents));
  interpreter.define("add_generation_prompt", options.add_generation_prompt);
  interpreter.define("messages",
                     messages_from_json(needs_preparation(messages) ? prepared(messages) : messages));
  if (options.variables.is_null()) return;
  if (!options.variables.is_object()) {
    refuse("further variables are ", options.variables.type_name(), ", expected an object");
  }
  for (const auto& [name, value] : options.variables.items()) {
    if (name == "messages")
      refuse("the variable `messages` is the conversation; it cannot be given beside it");
    interpreter.define(name, from_json(value));
  }
}

Text run(const Program& program, const OrderedJson& messages, const RenderOptions& options, bool tracked) {
  Runtime runtime(options.limits, [&](const std::string& format) {
    return python_strftime(format, options.now ? *options.now : local_time());
  });
  Interpreter interpreter(program, runtime, tracked);
  const auto place = [&] { return concat(program.where, ": line ", interpreter.line(), ": "); };
  try {
    define_variables(interpreter, messages, options);
  } catch (const Failure& failure) {
    fail(program.where, ": ", failure.what());
  }
  try {
    return interpreter.run();
  } catch (const Refusal& refusal) {
    throw TemplateRefusal(place(), refusal.what());
  } catch (const Failure& failure) {
    fail(place(), failure.what());
  } catch (const std::bad_alloc&) {
    fail(place(), "the text does not fit in memory");
  }
}

void add_span(std::vector<Span>& spans, std::size_t begin, std::size_t end) {
  if (!spans.empty() && spans.back().end == begin) {
    spans.back().end = end;
  } else {
    spans.push_back({begin, end});
  }
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view text, const std::string& where)
    : program_(std::make_unique<const Program>(parse(text, where))) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

bool ChatTemplate::marks_generation() const { return program_->has_generation; }
const std::string& ChatTemplate::where() const { return program_->where; }

std::string ChatTemplate::render(const OrderedJson& messages, const RenderOptions& options) const {
  return run(*program_, messages, options, false).bytes();
}

Rendered ChatTemplate::render_tracked(const OrderedJson& messages, const RenderOptions& options) const {
  const Text text = run(*program_, messages, options, true);
  Rendered out;
  out.text = text.bytes();
  out.messages.resize(messages.size());
  std::size_t at = 0;
  std::uint32_t piece = 0;
  for (const Text::Run& run : text.runs()) {
    if (run.origin.piece != piece) out.pieces.push_back(at);
    piece = run.origin.piece;
    if (run.origin.generation) add_span(out.generation, at, at + run.length);
    if (run.origin.message >= 0) {
      add_span(out.messages[static_cast<std::size_t>(run.origin.message)], at, at + run.length);
    }
    at += run.length;
  }
  return out;
}

}  // namespace lrqat::chat
