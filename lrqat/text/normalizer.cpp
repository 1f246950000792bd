#include "lrqat/text/normalizer.h"

#include "lrqat/text/component.h"
#include "lrqat/text/pattern.h"
#include "lrqat/text/unicode.h"

namespace lrqat::text {
namespace {

template <NormalForm form>
class UnicodeNormalizer final : public Normalizer {
 public:
  std::string normalize(std::string_view text, bool) const override { return text::normalize(text, form); }
};

class Lowercase final : public Normalizer {
 public:
  std::string normalize(std::string_view text, bool) const override { return to_lower(text); }
};

// SentencePiece's nmt rules: control characters are dropped, other white space and marks are spaces.
class Nmt final : public Normalizer {
 public:
  std::string normalize(std::string_view text, bool) const override {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
      const std::size_t begin = i;
      const char32_t c = next_character(text, i);
      if (is_dropped(c)) continue;
      is_space(c) ? out.append(1, ' ') : out.append(text.substr(begin, i - begin));
    }
    return out;
  }

 private:
  static bool is_dropped(char32_t c) {
    return (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F ||
           c == 0x9F;
  }
  static bool is_space(char32_t c) {
    return c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
           c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
  }
};

class StripAccents final : public Normalizer {
 public:
  std::string normalize(std::string_view text, bool) const override {
    static const Pattern kMarks{CharacterTest(is_mark)};
    return replace_all(kMarks, text, "");
  }
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  std::string normalize(std::string_view text, bool) const override {
    std::size_t begin = 0;
    while (left_ && begin < text.size()) {
      std::size_t next = begin;
      if (!is_white_space(next_character(text, next))) break;
      begin = next;
    }
    std::size_t end = text.size();
    while (right_ && end > begin) {
      std::size_t previous = end;
      if (!is_white_space(previous_character(text, previous))) break;
      end = previous;
    }
    return std::string(text.substr(begin, end - begin));
  }

 private:
  bool left_;
  bool right_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  std::string normalize(std::string_view text, bool) const override {
    return text.empty() ? std::string() : prefix_ + std::string(text);
  }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  std::string normalize(std::string_view text, bool) const override {
    return replace_all(pattern_, text, content_);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class SentencePieceNormalizer final : public Normalizer {
 public:
  SentencePieceNormalizer(bool add_prefix, bool collapse_spaces)
      : add_prefix_(add_prefix), collapse_spaces_(collapse_spaces) {}
  std::string normalize(std::string_view text, bool) const override {
    std::string out;
    bool after_space = true;  // also at the start
    for (const char c : text) {
      if (collapse_spaces_ && c == ' ' && after_space) continue;
      after_space = c == ' ';
      c == ' ' ? out.append(kMetaSpace) : out.append(1, c);
    }
    while (collapse_spaces_ && out.ends_with(kMetaSpace)) out.resize(out.size() - kMetaSpace.size());
    if (add_prefix_ && !out.empty()) out.insert(0, kMetaSpace);
    return out;
  }

 private:
  bool add_prefix_;
  bool collapse_spaces_;
};

template <typename T>
std::unique_ptr<Normalizer> make_plain(const Json&, const std::string&) {
  return std::make_unique<T>();
}

std::unique_ptr<Normalizer> make_strip(const Json& json, const std::string& where) {
  return std::make_unique<Strip>(json_get<bool>(json, "strip_left", where),
                                 json_get<bool>(json, "strip_right", where));
}

std::unique_ptr<Normalizer> make_prepend(const Json& json, const std::string& where) {
  return std::make_unique<Prepend>(json_get<std::string>(json, "prepend", where));
}

std::unique_ptr<Normalizer> make_replace(const Json& json, const std::string& where) {
  return std::make_unique<Replace>(Pattern::from_json(json_get<Json>(json, "pattern", where), where),
                                   json_get<std::string>(json, "content", where));
}

const ComponentRow<Normalizer> kTable[] = {
    {"NFC", {}, make_plain<UnicodeNormalizer<NormalForm::kNfc>>},
    {"NFD", {}, make_plain<UnicodeNormalizer<NormalForm::kNfd>>},
    {"NFKC", {}, make_plain<UnicodeNormalizer<NormalForm::kNfkc>>},
    {"NFKD", {}, make_plain<UnicodeNormalizer<NormalForm::kNfkd>>},
    {"Lowercase", {}, make_plain<Lowercase>},
    {"Nmt", {}, make_plain<Nmt>},
    {"StripAccents", {}, make_plain<StripAccents>},
    {"Strip", {"strip_left", "strip_right"}, make_strip},
    {"Prepend", {"prepend"}, make_prepend},
    {"Replace", {"pattern", "content"}, make_replace},
};

}  // namespace

Normalizers normalizers_from_json(const Json& json, const std::string& where) {
  Normalizers out;
  append_components<Normalizer>(json, kTable, "normalizers", where + ": normalizer", out);
  return out;
}

std::unique_ptr<const Normalizer> make_sentencepiece_normalizer(bool add_prefix, bool collapse_spaces) {
  return std::make_unique<SentencePieceNormalizer>(add_prefix, collapse_spaces);
}

std::string normalize_all(const Normalizers& normalizers, std::string_view text, bool at_start) {
  std::string out(text);
  for (const auto& normalizer : normalizers) {
    out = normalizer->normalize(out, at_start);
    check_growth(out.size(), text.size());
  }
  return out;
}

}  // namespace lrqat::text
