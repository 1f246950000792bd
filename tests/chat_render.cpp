// What tests/outsiders/chat_templates_test.py runs templates with: reads one JSON object a line, with
// "template" and what its conversation and options are, and prints one with "text" or "error".
#include <cstdio>
#include <iostream>
#include <string>

#include "lrqat/base/json.h"
#include "lrqat/chat/answers.h"
#include "lrqat/chat/chat_template.h"

namespace {

using lrqat::OrderedJson;

OrderedJson spans_json(const std::vector<lrqat::chat::Span>& spans) {
  OrderedJson out = OrderedJson::array();
  for (const auto& span : spans) out.push_back({span.begin, span.end});
  return out;
}

OrderedJson answer(const OrderedJson& job) {
  using namespace lrqat::chat;
  RenderOptions options;
  options.add_generation_prompt = job.value("add_generation_prompt", false);
  if (job.contains("tools")) options.tools = job["tools"];
  if (job.contains("documents")) options.documents = job["documents"];
  if (job.contains("variables")) options.variables = job["variables"];
  options.now = std::tm{};
  options.now->tm_mday = 26;
  options.now->tm_mon = 6;
  options.now->tm_year = 124;
  options.now->tm_wday = 5;
  options.now->tm_hour = 14;
  options.now->tm_min = 5;
  options.now->tm_yday = 207;
  const ChatTemplate chat_template(job.at("template").get<std::string>(), "template");
  if (job.value("answers", false)) {
    const Conversation conversation = find_answers(chat_template, job.at("messages"), options);
    OrderedJson out = {{"text", conversation.text}, {"answers", OrderedJson::array()}};
    for (const Answer& found : conversation.answers) {
      out["answers"].push_back(
          {found.message ? OrderedJson(*found.message) : OrderedJson(), found.span.begin, found.span.end});
    }
    return out;
  }
  const Rendered rendered = chat_template.render_tracked(job.at("messages"), options);
  OrderedJson out = {{"text", rendered.text}, {"generation", spans_json(rendered.generation)}};
  for (const auto& spans : rendered.messages) out["messages"].push_back(spans_json(spans));
  return out;
}

}  // namespace

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    OrderedJson out;
    try {
      out = answer(lrqat::parse_ordered_json(line, "job"));
    } catch (const lrqat::chat::TemplateRefusal& refusal) {
      out = {{"error", refusal.what()}, {"refusal", refusal.message()}};
    } catch (const lrqat::Error& error) {
      out = {{"error", error.what()}};
    }
    std::cout << out.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) << std::endl;
  }
}
