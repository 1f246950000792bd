// Where a model's chat templates lie.
#include "lrqat/chat/template_files.h"

#include <gtest/gtest.h>

#include <fstream>

#include "fixtures.h"

namespace lrqat::chat {
namespace {

class TemplateFiles : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_ / "additional_chat_templates"); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }
  std::string text(bool has_tools = false) const {
    return choose_template(read_template_sources(folder_), has_tools).text;
  }
  std::string error() const {
    return error_of([&] { text(); });
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) /
      ("template_files_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
};

TEST_F(TemplateFiles, AFileComesBeforeTheConfiguration) {
  EXPECT_EQ(error(), "the model has no chat template");
  write("chat_template.json", R"({"chat_template": "of the processor"})");
  EXPECT_EQ(text(), "of the processor");
  write("tokenizer_config.json", R"({"chat_template": "of the tokenizer"})");
  EXPECT_EQ(text(), "of the tokenizer");
  write("chat_template.jinja", "of the file");
  EXPECT_EQ(text(), "of the file");
  EXPECT_EQ(text(true), "of the file");
  write("additional_chat_templates/tool_use.jinja", "with tools");
  write("additional_chat_templates/notes.txt", "no template");
  EXPECT_EQ(text(), "of the file");
  EXPECT_EQ(text(true), "with tools");
  EXPECT_EQ(read_template_sources(folder_).size(), 2U);
}

TEST_F(TemplateFiles, SeveralTemplatesHaveNames) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "a"},
                                                       {"name": "tool_use", "template": "b"}]})");
  EXPECT_EQ(text(), "a");
  EXPECT_EQ(text(true), "b");
  write("tokenizer_config.json", R"({"chat_template": {"rag": "a", "tool_use": "b"}})");
  EXPECT_EQ(text(true), "b");
  const std::string path = (folder_ / "tokenizer_config.json").string();
  EXPECT_EQ(error(), path + ": no chat template is called \"default\"; there are rag, tool_use");
}

TEST_F(TemplateFiles, WhatIsNoTemplateIsNamed) {
  const std::string path = (folder_ / "tokenizer_config.json").string();
  const std::pair<const char*, std::string> cases[] = {
      {R"({"chat_template": 5})", path + ": the chat template \"default\" is 5, expected a text"},
      {R"({"chat_template": ["a"]})", path + ": an entry of chat_template is \"a\", expected an object"},
      {R"({"chat_template": [{"name": "x"}]})", path + ": key \"template\" is missing"},
      {"[]", path + ": expected a JSON object, found array"},
      {R"({"chat_template": null})", "the model has no chat template"},
      {"{}", "the model has no chat template"},
  };
  for (const auto& [json, wanted] : cases) {
    write("tokenizer_config.json", json);
    EXPECT_EQ(error(), wanted);
  }
}

TEST_F(TemplateFiles, KeysOfGguf) {
  EXPECT_EQ(template_name_of_gguf_key("tokenizer.chat_template"), "default");
  EXPECT_EQ(template_name_of_gguf_key("tokenizer.chat_template.tool_use"), "tool_use");
  EXPECT_EQ(template_name_of_gguf_key("tokenizer.chat_templates"), std::nullopt);
  EXPECT_EQ(template_name_of_gguf_key("tokenizer.chat_template."), std::nullopt);
  EXPECT_EQ(template_name_of_gguf_key("tokenizer.ggml.model"), std::nullopt);
}

}  // namespace
}  // namespace lrqat::chat
