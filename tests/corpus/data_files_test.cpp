// What entries of `data` name.
#include "lrqat/corpus/data_files.h"

#include <gtest/gtest.h>

#include "lrqat/base/progress.h"
#include "lrqat/corpus/tokenized_text.h"
#include "tests/corpus/test_data.h"

namespace lrqat::corpus {
namespace {

class DataEntries : public DataFolder {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  // "name=weight" of each file, below the folder.
  std::vector<std::string> found(const std::vector<std::string>& entries) const {
    std::vector<std::string> names;
    for (const DataFile& file : find_data_files(entries).files)
      names.push_back(concat(file.path.lexically_relative(folder_.path()).string(), "=", file.weight));
    return names;
  }
  std::string message(const std::string& entry) const {
    try {
      find_data_files({entry});
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
};

using Names = std::vector<std::string>;

TEST_F(DataEntries, FilesComeAsNamedWithTheirWeights) {
  for (const char* name : {"a.txt", "b.jsonl", "c=2.txt", "d=3"}) write(name, "text");
  EXPECT_EQ(found({path("b.jsonl"), path("a.txt")}), (Names{"b.jsonl=1", "a.txt=1"}));
  EXPECT_EQ(found({path("b.jsonl=3"), path("a.txt=0.5")}), (Names{"b.jsonl=3", "a.txt=0.5"}));
  EXPECT_EQ(found({path("c=2.txt"), path("c=2.txt=4"), path("d=3"), path("d=3=2")}),
            (Names{"c=2.txt=1", "c=2.txt=4", "d=3=1", "d=3=2"}));
  for (const char* weight : {"0", "-1", "1e9", "inf", "nan"})
    EXPECT_THROW(find_data_files({path(std::string("a.txt=") + weight)}), UsageError) << weight;
  EXPECT_NE(message(path("a.txt=x")).find("no such file"), std::string::npos);
}

TEST_F(DataEntries, FoldersGiveTheirDataFilesInOrder) {
  for (const char* name :
       {"d/b.jsonl", "d/a.txt", "d/x/c.json.gz", "d/x/d.TXT", "d/README.md", "d/README.txt", "d/.hidden.txt",
        "d/.git/e.txt", "d/dataset_infos.json", "d/plot.png", "d/part-0.zst"})
    write(name, "text");
  const Names expected{"d/a.txt=1", "d/b.jsonl=1", "d/part-0.zst=1", "d/x/c.json.gz=1", "d/x/d.TXT=1"};
  EXPECT_EQ(found({path("d")}), expected);
  EXPECT_EQ(found({path("d/")}), expected);
  EXPECT_EQ(found({path("d/x=2")}), (Names{"d/x/c.json.gz=2", "d/x/d.TXT=2"}));
  EXPECT_EQ(find_data_files({path("d")}).others.size(), 4U);
  write("wiki/AA/wiki_00", "text");
  EXPECT_EQ(found({path("wiki")}), Names{"wiki/AA/wiki_00=1"});
  write("none/plot.png", "");
  EXPECT_NE(message(path("none")).find("a folder without data files: looked for .txt"), std::string::npos);
}

TEST_F(DataEntries, PatternsGiveWhatFits) {
  for (const char* name : {"p/a1.txt", "p/a2.txt", "p/b.jsonl", "p/x/a3.txt", "p/x/y/a4.txt", "p/.a5.txt",
                           "p/[1].txt", "p/1.txt"})
    write(name, "text");
  EXPECT_EQ(found({path("p/a*.txt")}), (Names{"p/a1.txt=1", "p/a2.txt=1"}));
  EXPECT_EQ(found({path("p/a?.txt=2")}), (Names{"p/a1.txt=2", "p/a2.txt=2"}));
  EXPECT_EQ(found({path("p/**/a*.txt")}),
            (Names{"p/a1.txt=1", "p/a2.txt=1", "p/x/a3.txt=1", "p/x/y/a4.txt=1"}));
  EXPECT_EQ(found({path("p/*/a[3-9].txt")}), Names{"p/x/a3.txt=1"});
  EXPECT_EQ(found({path("p/[1].txt")}), Names{"p/[1].txt=1"});  // a file of this name
  EXPECT_NE(message(path("p/*.json")).find("no file fits this pattern"), std::string::npos);
  EXPECT_EQ(entry_paths({path("p/a*.txt"), path("none.txt=2")}).size(), 3U);
}

TEST_F(DataEntries, WhatIsNoFileIsAnsweredWithHowToGetIt) {
  const struct {
    std::string entry;
    const char* expected;
  } cases[] = {
      {"tatsu-lab/alpaca", "load_dataset(\"tatsu-lab/alpaca\", split=\"train\").to_json(\"alpaca.jsonl\")"},
      {(std::filesystem::current_path() / "tatsu-lab/alpaca").string(), "load_dataset(\"tatsu-lab/alpaca\""},
      {"wikitext", "load_dataset(\"wikitext\""},
      {"hf://datasets/a/b/train.parquet", "load_dataset(\"a/b\""},
      {"https://huggingface.co/datasets/a/b", "load_dataset(\"a/b\""},
      {"https://huggingface.co/datasets/a/b/blob/main/x.jsonl", "load_dataset(\"a/b\""},
      {"https://example.com/a.jsonl.gz", "curl -LO https://example.com/a.jsonl.gz"},
      {"owner/rows.jsonl", "there is no such file or folder"},
      {"/no/where", "there is no such file or folder"},
      {"rows.txt", "there is no such file or folder"},
  };
  for (const auto& c : cases)
    EXPECT_NE(message(c.entry).find(c.expected), std::string::npos) << message(c.entry);
  EXPECT_EQ(message("owner/rows.jsonl").find("load_dataset"), std::string::npos);
  EXPECT_EQ(absolute_entry("https://a/b"), "https://a/b");
  EXPECT_EQ(absolute_entry("a.txt=2"), (std::filesystem::current_path() / "a.txt=2").string());
}

}  // namespace
}  // namespace lrqat::corpus
