// Which bytes of a conversation are the assistant's.
#include "lrqat/chat/answers.h"

#include <gtest/gtest.h>

#include "fixtures.h"

namespace lrqat::chat {
namespace {

ChatTemplate published(const std::string& name) {
  return {read_text_file(data_folder() / (name + ".jinja")), name};
}

std::string answers_of(const ChatTemplate& chat_template, const std::string& messages,
                       WhichAnswers which = WhichAnswers::kAll) {
  RenderOptions options = with_variables(json(R"({"bos_token": "<s>", "eos_token": "</s>"})"));
  options.add_generation_prompt = true;  // must not matter
  const OrderedJson conversation = json(messages);
  const Conversation found = find_answers(chat_template, conversation, options, which);
  options.add_generation_prompt = false;
  EXPECT_EQ(found.text, chat_template.render(conversation, options));
  std::string out;
  for (const Answer& answer : found.answers) {
    out += answer.message ? std::to_string(*answer.message) : "?";
    out += "[" + found.text.substr(answer.span.begin, answer.span.end - answer.span.begin) + "]";
  }
  return out;
}

constexpr const char* kTurns =
    R"([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"},
                                   {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}])";
constexpr const char* kSystem =
    R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "2+2?"}])";
constexpr const char* kThinking = R"([{"role": "user", "content": "q1"},
    {"role": "assistant", "content": "<think>\nwhy\n</think>\n\na1"}, {"role": "user", "content": "q2"},
    {"role": "assistant", "content": "a2", "reasoning_content": "since"}])";
constexpr const char* kTools = R"([{"role": "user", "content": "w"}, {"role": "assistant", "content": "",
    "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]},
    {"role": "tool", "content": "sun"}, {"role": "assistant", "content": "Sun."}])";

TEST(Answers, OfTheSupportedFamilies) {
  const std::pair<const char*, const char*> cases[] = {
      {"SmolLM2-135M-Instruct", "1[Hello!<|im_end|>\n]3[4<|im_end|>\n]"},
      {"SmolLM3-3B", "1[Hello!<|im_end|>\n]3[4<|im_end|>\n]"},
      {"Llama-2-default", "1[ Hello! </s>]3[ 4 </s>]"},
      {"Llama-3-8B-Instruct", "1[Hello!<|eot_id|>]3[4<|eot_id|>]"},
      {"Llama-3.1-8B-Instruct", "1[Hello!<|eot_id|>]3[4<|eot_id|>]"},
      {"Mistral-7B-Instruct-v0.1", "1[Hello!</s> ]3[4</s> ]"},
      {"Mistral-Nemo-Instruct-2407", "1[Hello!</s>]3[4</s>]"},
      {"Qwen2.5-7B-Instruct", "1[Hello!<|im_end|>\n]3[4<|im_end|>\n]"},
      {"Qwen3-0.6B", "1[Hello!<|im_end|>\n]3[<think>\n\n</think>\n\n4<|im_end|>\n]"},
      {"Phi-3.5-mini-instruct", "1[Hello!<|end|>\n]3[4<|end|>\n</s>]"},
      {"gemma-7b-it", "1[Hello!<end_of_turn>\n]3[4<end_of_turn>\n]"},
      {"gemma-2-2b-it", "1[Hello!<end_of_turn>\n]3[4<end_of_turn>\n]"},
      {"gemma-3-4b-it", "1[Hello!<end_of_turn>\n]3[4<end_of_turn>\n]"},
  };
  for (const auto& [name, wanted] : cases) EXPECT_EQ(answers_of(published(name), kTurns), wanted) << name;
}

TEST(Answers, WhereEarlierTurnsAreWrittenInAnotherWay) {
  EXPECT_EQ(answers_of(published("Qwen3-0.6B"), kThinking),
            "1[a1<|im_end|>\n]3[<think>\nsince\n</think>\n\na2<|im_end|>\n]");
  EXPECT_EQ(answers_of(published("Qwen3-0.6B"), kThinking, WhichAnswers::kLast),
            "3[<think>\nsince\n</think>\n\na2<|im_end|>\n]");
  // The prompt of QwQ ends with <think>, and its earlier answers stand without.
  EXPECT_EQ(answers_of(published("QwQ-32B"), kTurns), "1[Hello!<|im_end|>\n]3[4<|im_end|>\n]");
  // The system prompt stands in the last user turn, behind an answer.
  EXPECT_EQ(answers_of(published("Mistral-7B-Instruct-v0.3"), kSystem), "2[ Hello!</s>]");
  // eos only at the end of the whole.
  EXPECT_EQ(answers_of(ChatTemplate("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
                                    "{{ '<assistant>' if add_generation_prompt else '<eos>' }}",
                                    "test"),
                       kTurns),
            "1[Hello!]3[4<eos>]");
}

TEST(Answers, WithToolCalls) {
  EXPECT_EQ(answers_of(published("Qwen2.5-7B-Instruct"), kTools),
            "1[<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": "
            "1}}\n</tool_call><|im_end|>\n]3[Sun.<|im_end|>\n]");
  EXPECT_EQ(answers_of(published("QwQ-32B"), kTools),
            "1[<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": "
            "1}}\n</tool_call><|im_end|>\n]3[Sun.<|im_end|>\n]");
}

TEST(Answers, OfTemplatesThatMarkThem) {
  EXPECT_EQ(answers_of(published("trl-llama3-training"), kTurns), "1[Hello!<|eot_id|>]3[4<|eot_id|>]");
  EXPECT_EQ(answers_of(published("trl-llama3-training"), kTurns, WhichAnswers::kLast), "3[4<|eot_id|>]");
  EXPECT_EQ(answers_of(ChatTemplate("{% generation %}x{% endgeneration %}", "test"), kTurns), "?[x]");
}

TEST(Answers, NoneAndEmptyOnes) {
  EXPECT_EQ(answers_of(published("SmolLM2-135M-Instruct"), R"([{"role": "user", "content": "Hi"}])"), "");
  EXPECT_EQ(answers_of(published("SmolLM2-135M-Instruct"), "[]"), "");
  EXPECT_EQ(answers_of(published("SmolLM2-135M-Instruct"),
                       R"([{"role": "user", "content": ""}, {"role": "assistant", "content": ""}])"),
            "1[<|im_end|>\n]");
}

TEST(Answers, WhatCannotBeSaidIsRefused) {
  const std::string say = "which text is the answer of message 3 cannot be said: ";
  const std::pair<const char*, std::string> cases[] = {
      {"{% for m in messages|reverse %}<{{ m.role }}>{{ m.content }};{% endfor %}",
       say + "before it stands something else"},
      {"{{ messages|length }}", say + "the template prints none of its text"},
      {"{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt "
       "%}ASSISTANT:{% endif %}",
       say + "before it stands something else"},
  };
  for (const auto& [text, wanted] : cases) {
    const std::string said = error_of([&, text = text] { answers_of(ChatTemplate(text, "test"), kTurns); });
    EXPECT_NE(said.find(wanted), std::string::npos) << text << ": " << said;
  }
}

}  // namespace
}  // namespace lrqat::chat
