// Task files, their templates and filters, rows and prompts: text against text that Python and
// lm-evaluation-harness give. Whole evaluations against lm-evaluation-harness:
// tests/outsiders/lm_eval_test.py.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/eval/python_random.h"
#include "lrqat/eval/task_filters.h"
#include "lrqat/eval/task_metrics.h"
#include "tests/quant/expect_error.h"

namespace lrqat::eval {
namespace {

namespace fs = std::filesystem;

void expect_error(const std::function<void()>& action, const std::vector<std::string>& parts) {
  quant::testing::expect_error<Error>(action, parts);
}

std::string rendered(const std::string& text, const Json& row) {
  return Template(text, "t").render(row, "r");
}

TEST(TaskTemplate, FollowsPaths) {
  const Json row{{"a", {{"b", {1, 2}}}}, {"list", {{{"t", "x"}}, {{"t", "y"}}}}, {"yes", true}};
  EXPECT_EQ(rendered("{{{a.b[1]}}} {yes}", row), "{2} True");
  EXPECT_EQ(Template("{list[].t}", "t").evaluate(row), Json({"x", "y"}));
  std::string missing;
  EXPECT_TRUE(Template("{a.c}", "t").evaluate(row, &missing).is_null());
  EXPECT_EQ(missing, "a.c");
}

TEST(TaskTemplate, RefusesWhatItCannotRead) {
  for (const char* broken : {"{a", "a}", "{}", "{a[x]}", "{a|no_filter}", "{a[1}"}) {
    EXPECT_THROW(Template(broken, "t"), Error) << broken;
  }
}

std::string filtered(const char* name, const std::string& text) { return find_task_filter(name, "t")(text); }

TEST(TaskFilters, AreLmEvalsPython) {
  EXPECT_EQ(filtered("hellaswag", " [header] How to [title] Do it. [step] Now  go [substeps] x "),
            " How to. Do it. Now go x");  // stripped before the marks go
  EXPECT_EQ(filtered("hellaswag", "a [open\n] b"), "a [open\n] b");
  EXPECT_EQ(filtered("capitalize", "éCOLE The Man"), "École the man");
  EXPECT_EQ(filtered("before_blank", "The _ is _ x"), "The ");
  EXPECT_EQ(filtered("after_blank", "The _ is _ x "), "is _ x");
  EXPECT_EQ(filtered("before_last_word", "one two  three"), "one two ");
  EXPECT_EQ(filtered("last_word", "one two  three"), "three");
  EXPECT_EQ(filtered("strip", "\u00a0\x1c x\u2003\n"), "x");
}

TEST(TaskFilters, DetokenizeWikiText) {
  EXPECT_EQ(wikitext_detokenize(
                " = Title = \n \n The \" old \" ( a b ) cost 1 @,@ 000 , men 's N x 5 ° C . \n = = S = = \n"),
            " = Title =\n\nThe \"old\" (a b) cost 1,000, men's 1 x 5°C.\n== S ==\n");
}

TEST(TaskFilters, CountAsPythonDoes) {
  EXPECT_EQ(python_word_count(" a  b\nc "), 5);  // len(re.split(r"\s+", ...)) with the empty ends
  EXPECT_EQ(python_word_count(""), 1);
  EXPECT_EQ(python_length("naïve…"), 6);
}

// random.Random(1234): sample(range(10), 3), then sample(range(1000), 7), then sample(range(50), 6).
TEST(PythonRandom, SamplesAsPython) {
  PythonRandom random(1234);
  EXPECT_EQ(random.sample(10, 3), (std::vector<std::size_t>{7, 1, 0}));
  EXPECT_EQ(random.sample(1000, 7), (std::vector<std::size_t>{92, 932, 965, 961, 826, 596, 35}));
  EXPECT_EQ(random.sample(50, 6), (std::vector<std::size_t>{42, 44, 5, 6, 22, 15}));
}

class TaskFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("lrqat_task_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path write(const std::string& name, const std::string& text) const {
    fs::create_directories((folder_ / name).parent_path());
    write_text_file(folder_ / name, text);
    return folder_ / name;
  }

  fs::path folder_;
};

TEST_F(TaskFiles, AreFoundByTheirPublishedNames) {
  write("piqa/val.jsonl", "{}\n");
  write("ARC-Easy-Test.jsonl", "{}\n");
  EXPECT_EQ(find_task_file(folder_, "piqa", "valid", {}).filename(), "val.jsonl");
  EXPECT_EQ(find_task_file(folder_, "arc_easy", "test", find_task("arc_easy").files).filename(),
            "ARC-Easy-Test.jsonl");
  write("hellaswag_valid.jsonl.xz", "x");  // cut off, which reading it says
  EXPECT_EQ(find_task_file(folder_, "hellaswag", "valid", {}).filename(), "hellaswag_valid.jsonl.xz");
  write("hellaswag_valid.jsonl", "{}\n");
  EXPECT_EQ(find_task_file(folder_, "hellaswag", "valid", {}).filename(), "hellaswag_valid.jsonl");
  expect_error([&] { find_task_file(folder_, "boolq", "valid", {}); }, {"boolq_valid.jsonl"});
}

// Rows as training reads them: an array, packed, labels beside.
TEST_F(TaskFiles, RowsAreReadInEveryForm) {
  write("valid-labels.lst", "1\n0\n");
  const auto expected = read_task_rows(write("valid.jsonl", "{\"goal\": \"g\"}\n\n{\"goal\": \"h\"}\n"));
  ASSERT_EQ(expected.size(), 2U);
  EXPECT_EQ(expected[1].row["label"], "0");
  EXPECT_NE(expected[1].where.find("valid.jsonl:3"), std::string::npos);
  // python3: gzip.compress(b'[{"goal": "g"},\n{"goal": "h"}]', mtime=0)
  constexpr unsigned char kPacked[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x8b,
                                       0xae, 0x56, 0x4a, 0xcf, 0x4f, 0xcc, 0x51, 0xb2, 0x52, 0x50, 0x4a,
                                       0x57, 0xaa, 0xd5, 0xe1, 0x42, 0x70, 0x33, 0x94, 0x6a, 0x63, 0x01,
                                       0x50, 0xd2, 0x42, 0x21, 0x1e, 0x00, 0x00, 0x00};
  const std::string packed(reinterpret_cast<const char*>(kPacked), sizeof kPacked);
  const auto found = read_task_rows(write("valid.jsonl.gz", packed));
  ASSERT_EQ(found.size(), 2U);
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].row, expected[i].row);
  EXPECT_NE(found[1].where.find("valid.jsonl.gz:2"), std::string::npos);
}

TEST_F(TaskFiles, NameTheBrokenLine) {
  const fs::path path = write("t.jsonl", "{\"a\": 1}\n\n{\"a\": \n");
  expect_error([&] { read_task_rows(path); }, {"t.jsonl:3", "not valid JSON"});
  expect_error([&] { read_task_rows(write("e.jsonl", "\n")); }, {"e.jsonl", "no rows"});
  expect_error([&] { read_task_rows(write("l.jsonl", "[1]\n")); }, {"l.jsonl:1", "object"});
}

TEST_F(TaskFiles, TakeLabelsFromTheFileBeside) {
  write("valid-labels.lst", "1\n0\n");
  const auto rows =
      read_task_rows(write("valid.jsonl", "{\"goal\": \"g\"}\n{\"goal\": \"h\", \"label\": 1}\n"));
  EXPECT_EQ(rows[0].row["label"], "1");
  EXPECT_EQ(rows[1].row["label"], 1);
}

TEST(Wikitext, IsCutIntoPages) {
  const auto pages = wikitext_pages(" \n = A = \n \n text \n = = S = = \n x \n = B = \n y\n");
  ASSERT_EQ(pages.size(), 2U);
  EXPECT_EQ(pages[0], " = A = \n \n text \n = = S = = \n x ");
  EXPECT_EQ(pages[1], " = B = \n y\n");
}

std::vector<TaskPrompt> prompts_of(const std::string& task, std::vector<Json> rows) {
  std::vector<TaskRow> all;
  for (Json& row : rows) all.push_back({std::move(row), "file.jsonl:" + std::to_string(all.size() + 1)});
  return make_prompts(find_task(task), all, {}, 0, 0);
}

TEST(TaskPrompts, ReadBothLayoutsOfArc) {
  const Json published{
      {"question",
       {{"stem", "Q?"}, {"choices", {{{"text", "x"}, {"label", "1"}}, {{"text", "y"}, {"label", "2"}}}}}},
      {"answerKey", "2"}};
  const Json copy{
      {"question", "Q?"}, {"choices", {{"text", {"x", "y"}}, {"label", {"A", "B"}}}}, {"answerKey", "B"}};
  for (const TaskPrompt& prompt : prompts_of("arc_challenge", {published, copy})) {
    EXPECT_EQ(prompt.pairs[1].context, "Question: Q?\nAnswer:");
    EXPECT_EQ(prompt.pairs[1].continuation, " y");
    EXPECT_EQ(prompt.answer, 1);
  }
}

TEST(TaskPrompts, NameTheRowThatIsWrong) {
  const Json row{{"passage", "p"}, {"question", "q"}};
  expect_error([&] { prompts_of("boolq", {row}); }, {"file.jsonl:1", "label"});
  expect_error(
      [&] {
        prompts_of("piqa", {{{"goal", "g"}, {"sol1", "a"}, {"sol2", "b"}, {"label", 2}}});
      },
      {"file.jsonl:1", "none of the 2 choices"});
}

TEST(TaskPrompts, RefuseWhatIsNoText) {
  const Json piqa{{"goal", {"g"}}, {"sol1", "a"}, {"sol2", "b"}, {"label", 0}};
  expect_error([&] { prompts_of("piqa", {piqa}); }, {"file.jsonl:1", "no text \"goal\""});
  const Json choice{{"goal", "g"}, {"sol1", {{"a", 1}}}, {"sol2", "b"}, {"label", 0}};
  expect_error([&] { prompts_of("piqa", {choice}); }, {"file.jsonl:1", "no text \"sol1\""});
  const Json arc{
      {"question", "Q?"}, {"choices", {{"text", {{"x"}, "y"}}, {"label", {"A", "B"}}}}, {"answerKey", "B"}};
  expect_error([&] { prompts_of("arc_easy", {arc}); }, {"file.jsonl:1", "[\"x\"] is no text"});
  const Json winogrande{
      {"sentence", "The cat sat."}, {"option1", "cat"}, {"option2", "dog"}, {"answer", "1"}};
  expect_error([&] { prompts_of("winogrande", {winogrande}); }, {"file.jsonl:1", "no blank (_)"});
}

TEST(Tasks, UnknownOnesAreNamed) {
  expect_error([] { expand_tasks({"boolq", "no_task"}); }, {"no_task", "boolq", "lr_qat_six"});
  EXPECT_EQ(expand_tasks({"piqa", "lr_qat_six"}).size(), 6U);
  for (const std::string& name : task_names()) EXPECT_EQ(find_task(name).name, name);
}

PromptResult result_of(std::vector<double> values) {
  PromptResult result;
  for (const double value : values) result.scores.push_back({value, false});
  return result;
}

TEST(TaskMetrics, NormaliseByCharacters) {
  TaskPrompt prompt;
  prompt.pairs.resize(2);
  prompt.lengths = {2, 10};
  prompt.answer = 1;
  const std::vector<TaskPrompt> prompts(3, prompt);
  const std::vector<PromptResult> results = {result_of({-2, -5}), result_of({-5, -4}), result_of({-1, -6})};
  const Json json = task_metrics(find_task("piqa"), prompts, results);
  EXPECT_DOUBLE_EQ(json["acc"], 1.0 / 3);
  EXPECT_DOUBLE_EQ(json["acc_norm"], 2.0 / 3);
  EXPECT_NEAR(json["acc_stderr"].get<double>(), 1.0 / 3, 1e-12);  // sqrt(2/3 / 2 / 3)
}

}  // namespace
}  // namespace lrqat::eval
