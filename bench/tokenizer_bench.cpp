// Encoding speed of a tokenizer on one thread: lines of a text, and the text as a whole; prints one JSON
// document with the fastest of several passes. bench/tokenizer_bench.py compares it with Hugging Face's.
//     tokenizer_bench TOKENIZER TEXT [PASSES]
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "lrqat/base/file.h"
#include "lrqat/base/json.h"
#include "lrqat/text/tokenizer.h"

namespace {

template <typename Work>
double fastest(int passes, const Work& work) {
  double best = 1e30;
  for (int i = 0; i < passes; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) {
    std::cerr << "tokenizer_bench TOKENIZER TEXT [PASSES]\n";
    return 2;
  }
  const int passes = count > 3 ? std::atoi(arguments[3]) : 5;
  const lrqat::text::Tokenizer tokenizer = lrqat::text::load_tokenizer(arguments[1]);
  const std::string text = lrqat::read_text_file(arguments[2]);
  const std::vector<std::string> lines = lines_of(text);
  std::size_t ids_of_lines = 0, ids_of_text = 0;
  const double of_lines = fastest(passes, [&] {
    ids_of_lines = 0;
    for (const std::string& line : lines) ids_of_lines += tokenizer.encode(line, false).size();
  });
  const double of_text = fastest(passes, [&] { ids_of_text = tokenizer.encode(text, false).size(); });
  const auto bytes = static_cast<double>(text.size());
  const lrqat::Json json{{"lines", {{"ids", ids_of_lines}, {"bytes_per_second", bytes / of_lines}}},
                         {"text", {{"ids", ids_of_text}, {"bytes_per_second", bytes / of_text}}}};
  std::cout << json.dump() << "\n";
  return 0;
}
