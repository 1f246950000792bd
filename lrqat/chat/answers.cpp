#include "lrqat/chat/answers.h"

#include <algorithm>
#include <string_view>

namespace lrqat::chat {
namespace {

bool is_assistant(const OrderedJson& message) {
  return message.is_object() && message.contains("role") && message["role"] == "assistant";
}

OrderedJson begin_of(const OrderedJson& messages, std::size_t count) {
  OrderedJson out = OrderedJson::array();
  for (std::size_t i = 0; i < count; ++i) out.push_back(messages[i]);
  return out;
}

// Where the last text of other messages than `message` ends that begins before `position`; 0: there is none.
std::size_t end_of_others(const Rendered& rendered, std::size_t message, std::size_t position) {
  std::size_t end = 0;
  for (std::size_t i = 0; i < rendered.messages.size(); ++i) {
    for (const Span& span : rendered.messages[i]) {
      if (i != message && span.begin < position) end = std::max(end, span.end);
    }
  }
  return end;
}

// The template's own text before the message's.
std::string_view text_before(const Rendered& rendered, std::size_t message) {
  const std::size_t begin = rendered.messages[message].front().begin;
  const std::size_t before = end_of_others(rendered, message, begin);
  return std::string_view(rendered.text).substr(before, begin - before);
}

bool begins_piece(const Rendered& rendered, std::size_t position) {
  return position == rendered.text.size() ||
         std::binary_search(rendered.pieces.begin(), rendered.pieces.end(), position);
}

// How many bytes both texts have in common from there on, in whole pieces of the template.
std::size_t common_pieces(const Rendered& a, std::size_t a_begin, const Rendered& b, std::size_t b_begin) {
  const std::string_view first = std::string_view(a.text).substr(a_begin),
                         second = std::string_view(b.text).substr(b_begin);
  auto size = static_cast<std::size_t>(
      std::mismatch(first.begin(), first.end(), second.begin(), second.end()).first - first.begin());
  while (size > 0 && !(begins_piece(a, a_begin + size) && begins_piece(b, b_begin + size))) --size;
  return size;
}

class AnswerFinder {
 public:
  AnswerFinder(const ChatTemplate& chat_template, const OrderedJson& messages, const RenderOptions& options)
      : template_(chat_template), messages_(messages), options_(options) {
    options_.add_generation_prompt = false;
    whole_ = template_.render_tracked(messages_, options_);
  }

  Conversation run(WhichAnswers which) {
    std::vector<Answer> answers = template_.marks_generation() ? marked(which) : found(which);
    return {std::move(whole_.text), std::move(answers)};
  }

 private:
  [[noreturn]] void refuse_message(std::size_t message, const char* why) const {
    fail(template_.where(), ": which text is the answer of message ", message, " cannot be said: ", why,
         "; score the last answer only, or give a template with {% generation %}");
  }

  Rendered rendered(const OrderedJson& messages, bool add_generation_prompt) const {
    RenderOptions options = options_;
    options.add_generation_prompt = add_generation_prompt;
    return template_.render_tracked(messages, options);
  }

  std::vector<Answer> marked(WhichAnswers which) const {
    std::vector<Answer> out;
    for (const Span& span : whole_.generation) {
      Answer answer{span, std::nullopt};
      for (std::size_t i = 0; i < whole_.messages.size() && !answer.message; ++i) {
        const auto& spans = whole_.messages[i];
        const bool inside = std::any_of(spans.begin(), spans.end(), [&](const Span& part) {
          return part.begin < span.end && part.end > span.begin;
        });
        if (inside) answer.message = i;
      }
      out.push_back(answer);
    }
    if (which == WhichAnswers::kAll || out.empty()) return out;
    // One message may have several parts: those of the last part's message, or the last part alone.
    const Answer last = out.back();
    std::erase_if(out, [&](const Answer& answer) {
      return answer.span != last.span && (!last.message || answer.message != last.message);
    });
    return out;
  }

  std::vector<Answer> found(WhichAnswers which) const {
    std::vector<Answer> out;
    for (std::size_t i = messages_.size(); i-- > 0;) {
      if (!is_assistant(messages_[i])) continue;
      const Span span = answer(i);
      if (span.begin < span.end) out.push_back({span, i});
      if (which == WhichAnswers::kLast) break;
    }
    std::reverse(out.begin(), out.end());
    return out;
  }

  Span answer(std::size_t message) const {
    const Rendered prompt = rendered(begin_of(messages_, message), true);
    const bool is_last = message + 1 == messages_.size();
    const Rendered cut = is_last ? whole_ : rendered(begin_of(messages_, message + 1), false);
    if (cut.text.starts_with(prompt.text) && whole_.text.starts_with(cut.text)) {
      return {prompt.text.size(), cut.text.size()};
    }
    return by_origin(message, prompt, cut);
  }

  Span by_origin(std::size_t message, const Rendered& prompt, const Rendered& cut) const {
    const auto& own = whole_.messages[message];
    if (own.empty() || cut.messages[message].empty())
      refuse_message(message, "the template prints none of its text");
    const std::string_view before = text_before(whole_, message);
    const std::string_view header =
        std::string_view(prompt.text).substr(end_of_others(prompt, message, prompt.text.size()));
    const std::size_t footer = common_pieces(whole_, own.back().end, cut, cut.messages[message].back().end);
    const std::size_t begin = own.front().begin - before.size() + header_size(message, before, header);
    const Span span{begin, own.back().end + footer};
    if (end_of_others(whole_, message, span.end) > span.begin) {
      refuse_message(message, "text of another message stands inside of it");
    }
    return span;
  }

  // How much of the text before a message's own still belongs to the prompt.
  std::size_t header_size(std::size_t message, std::string_view before, std::string_view header) const {
    if (before.starts_with(header)) return header.size();
    if (header.starts_with(before)) return before.size();
    OrderedJson plain = begin_of(messages_, message);
    plain.push_back({{"role", "assistant"}, {"content", "x"}});
    plain.push_back({{"role", "user"}, {"content", "x"}});
    const Rendered with_plain = rendered(plain, false);
    if (!with_plain.messages[message].empty()) {
      const std::string_view common = text_before(with_plain, message);
      if (before.starts_with(common) && header.starts_with(common)) return common.size();
    }
    refuse_message(message, "before it stands something else than the prompt's end");
  }

  const ChatTemplate& template_;
  const OrderedJson& messages_;
  RenderOptions options_;
  Rendered whole_;
};

}  // namespace

Conversation find_answers(const ChatTemplate& chat_template, const OrderedJson& messages,
                          const RenderOptions& options, WhichAnswers which) {
  return AnswerFinder(chat_template, messages, options).run(which);
}

}  // namespace lrqat::chat
