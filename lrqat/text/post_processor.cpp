#include "lrqat/text/post_processor.h"

#include "lrqat/base/error.h"
#include "lrqat/text/component.h"

namespace lrqat::text {
namespace {

using Ids = std::vector<std::int32_t>;

Ids special_ids(const Json& json, const std::string& name, const std::string& where) {
  const Json tokens = json_get<Json>(json, "special_tokens", where);
  return json_get<Ids>(json_get<Json>(tokens, name, where + ": special_tokens"), "ids", where + ": " + name);
}

// TemplateProcessing: "single" lists special tokens and the text, {"Sequence": {"id": "A"}}.
void apply_template(const Json& json, const std::string& where, Pipeline& pipeline) {
  bool seen_text = false;
  Ids prefix, suffix;
  for (const Json& piece : json_get<std::vector<Json>>(json, "single", where)) {
    if (piece.contains("Sequence")) {
      if (seen_text) fail(where, ": the template for one text has it twice");
      seen_text = true;
    } else {
      const Json special = json_get<Json>(piece, "SpecialToken", where);
      const Ids ids = special_ids(json, json_get<std::string>(special, "id", where), where);
      Ids& side = seen_text ? suffix : prefix;
      side.insert(side.end(), ids.begin(), ids.end());
    }
  }
  if (!seen_text) fail(where, ": the template for one text does not have the text");
  // In a Sequence each processor works on what the ones before it made.
  pipeline.prefix.insert(pipeline.prefix.begin(), prefix.begin(), prefix.end());
  pipeline.suffix.insert(pipeline.suffix.end(), suffix.begin(), suffix.end());
}

// RobertaProcessing and BertProcessing: "cls" before, "sep" after, each a pair of token and id.
void apply_bert(const Json& json, const std::string& where, Pipeline& pipeline) {
  const auto id = [&](const char* key) {
    const Json pair = json_get<Json>(json, key, where);
    if (!pair.is_array() || pair.size() != 2 || !pair[1].is_number_integer()) {
      fail(where, ": ", key, " is ", json_excerpt(pair), ", expected [token, id]");
    }
    return pair[1].get<std::int32_t>();
  };
  pipeline.prefix.insert(pipeline.prefix.begin(), id("cls"));
  pipeline.suffix.push_back(id("sep"));
}

void apply_nothing(const Json&, const std::string&, Pipeline&) {}

struct Row {
  std::string_view type;
  std::initializer_list<std::string_view> options;
  void (*apply)(const Json& json, const std::string& where, Pipeline& pipeline);
};

const Row kTable[] = {
    {"TemplateProcessing", {"single", "pair", "special_tokens"}, apply_template},
    {"ByteLevel", {"add_prefix_space", "trim_offsets", "use_regex"}, apply_nothing},
    {"RobertaProcessing", {"sep", "cls", "trim_offsets", "add_prefix_space"}, apply_bert},
    {"BertProcessing", {"sep", "cls"}, apply_bert},
};

}  // namespace

void apply_post_processor(const Json& json, const std::string& where, Pipeline& pipeline) {
  if (json.is_null()) return;
  const std::string type = component_type(json, where);
  if (type == "Sequence") {
    const std::string_view known[] = {"processors"};
    check_options(json, known, where);
    for (const Json& member : json_get<std::vector<Json>>(json, "processors", where)) {
      apply_post_processor(member, where, pipeline);
    }
    return;
  }
  std::vector<std::string_view> known = {"Sequence"};
  for (const Row& row : kTable) {
    known.push_back(row.type);
    if (row.type != type) continue;
    check_options(json, {row.options.begin(), row.options.size()}, where + " " + type);
    row.apply(json, where + " " + type, pipeline);
    for (const auto* side : {&pipeline.prefix, &pipeline.suffix}) {
      for (const std::int32_t id : *side) {
        if (!pipeline.vocabulary->contains(id))
          fail(where, ": special token id ", id, " is not in the vocabulary");
      }
    }
    return;
  }
  fail_unknown_type(type, known, where);
}

}  // namespace lrqat::text
