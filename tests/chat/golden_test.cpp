// Templates of published models and small ones for every part of the language, against what transformers and
// jinja2 make of them (tests/outsiders/chat_templates_test.py writes the texts and checks them against the
// installed ones).
#include <gtest/gtest.h>

#include "fixtures.h"

namespace lrqat::chat {
namespace {

// The text, or that it must be refused.
void expect_as(const OrderedJson& wanted, const ChatTemplate& chat_template, const OrderedJson& messages,
               const RenderOptions& options, const std::string& what) {
  if (wanted.contains("error")) {
    EXPECT_THROW(chat_template.render(messages, options), Error) << what;
    return;
  }
  try {
    EXPECT_EQ(chat_template.render(messages, options), wanted["text"].get<std::string>()) << what;
  } catch (const Error& error) {
    ADD_FAILURE() << what << ": " << error.what();
  }
}

TEST(ChatTemplateGolden, PublishedTemplatesGiveTheTextsOfTransformers) {
  const OrderedJson given = ordered_file("conversations.json");
  int templates = 0, texts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(data_folder())) {
    if (entry.path().extension() != ".jinja") continue;
    const std::string name = entry.path().stem().string();
    const ChatTemplate chat_template(read_text_file(entry.path()), name);
    for (const OrderedJson& wanted : ordered_file("golden/" + name + ".json")) {
      const auto conversation = wanted["conversation"].get<std::string>();
      const auto option = wanted["options"].get<std::string>();
      const OrderedJson& chosen = given["options"][option];
      OrderedJson variables = given["tokens"];
      if (chosen.contains("variables")) variables.update(chosen["variables"]);
      RenderOptions options = with_variables(variables);
      options.add_generation_prompt = chosen.value("add_generation_prompt", false);
      if (chosen.contains("tools")) options.tools = chosen["tools"];
      if (chosen.contains("documents")) options.documents = chosen["documents"];
      expect_as(wanted, chat_template, given["conversations"][conversation], options,
                name + ", " + conversation + ", " + option);
      texts += wanted.contains("text") ? 1 : 0;
    }
    ++templates;
  }
  EXPECT_GE(templates, 30);
  EXPECT_GE(texts, templates * 8);
}

TEST(ChatTemplateGolden, TheLanguageIsJinjas) {
  const OrderedJson document = ordered_file("language.json");
  OrderedJson variables = ordered_file("conversations.json")["tokens"];
  variables.update(document["variables"]);
  const RenderOptions options = with_variables(variables);
  for (const OrderedJson& wanted : document["cases"]) {
    const auto text = wanted["template"].get<std::string>();
    try {
      expect_as(wanted, ChatTemplate(text, "test"), OrderedJson::array(), options, text);
    } catch (const Error& error) {  // a template that cannot be parsed
      EXPECT_TRUE(wanted.contains("error")) << text << ": " << error.what();
    }
  }
  EXPECT_GE(document["cases"].size(), 200U);
}

}  // namespace
}  // namespace lrqat::chat
