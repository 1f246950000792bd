// perplexity MODEL TEXT [CONTEXT]: MODEL is a Hugging Face folder, a GGUF file or a converted folder, TEXT a
// file.
#include "lrqat/eval/perplexity.h"

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/model/open.h"

int main(int argc, char** argv) try {
  if (argc < 3) {
    std::cerr << "usage: perplexity MODEL TEXT [CONTEXT]\n";
    return 2;
  }
  const auto model = lrqat::model::open_model(argv[1]);
  const auto tokens = model.tokenizer().encode(lrqat::read_text_file(argv[2]));
  lrqat::eval::WindowOptions windows;
  if (argc > 3) windows.context = std::atoll(argv[3]);
  lrqat::SilentProgress progress;
  const auto result = lrqat::eval::perplexity(*model.decoder, {tokens}, windows, progress);
  std::cout << model.kind << " model, " << tokens.size() << " tokens, " << result.windows << " windows of "
            << result.context << "\nperplexity " << result.perplexity << "\n";
} catch (const lrqat::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
