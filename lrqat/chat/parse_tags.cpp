// One function a tag.
#include <algorithm>
#include <utility>

#include "lrqat/chat/parser.h"

namespace lrqat::chat {
namespace {

constexpr int kMostBranches = 300;

std::unique_ptr<Statement> make_statement(Statement::Kind kind) {
  auto out = std::make_unique<Statement>();
  out->kind = kind;
  return out;
}

}  // namespace

Parser::Rule Parser::rule_of(const std::string& tag) {
  static constexpr std::pair<std::string_view, Rule> kTags[] = {
      {"autoescape", &Parser::parse_unsupported},
      {"block", &Parser::parse_block},
      {"break", &Parser::parse_break},
      {"call", &Parser::parse_call_block},
      {"continue", &Parser::parse_continue},
      {"extends", &Parser::parse_unsupported},
      {"filter", &Parser::parse_filter_block},
      {"for", &Parser::parse_for},
      {"from", &Parser::parse_unsupported},
      {"generation", &Parser::parse_generation},
      {"if", &Parser::parse_if},
      {"import", &Parser::parse_unsupported},
      {"include", &Parser::parse_unsupported},
      {"macro", &Parser::parse_macro},
      {"print", &Parser::parse_print},
      {"set", &Parser::parse_set},
      {"with", &Parser::parse_with},
  };
  for (const auto& [name, rule] : kTags) {
    if (name == tag) return rule;
  }
  return nullptr;
}

// elif is an if that stands alone in the other branch.
std::unique_ptr<Statement> Parser::parse_if(int line) {
  auto out = make_statement(Statement::Kind::kIf);
  Statement* branch = out.get();
  branch->line = line;
  for (int count = 0;; ++count) {
    if (count > kMostBranches) fail_here(concat("an if with more than ", kMostBranches, " branches"));
    branch->value = tuple(false);
    branch->body = tag_body({"elif", "else", "endif"}, "if");
    const Token end = take();
    if (end.value == "endif") return out;
    if (end.value == "else") break;
    branch->otherwise.push_back(make_statement(Statement::Kind::kIf));
    branch = branch->otherwise.back().get();
    branch->line = end.line;
  }
  branch->otherwise = tag_body({"endif"}, "if");
  take();
  return out;
}

std::unique_ptr<Statement> Parser::parse_for(int) {
  auto out = make_statement(Statement::Kind::kFor);
  out->target = target(false);
  if (!skip_name("in")) fail_here("expected 'in', found " + described(current()));
  out->value = tuple(false);
  if (skip_name("if")) out->condition = expression();
  out->recursive = skip_name("recursive");
  out->body = tag_body({"else", "endfor"}, "for");
  if (take().value == "endfor") return out;
  out->otherwise = tag_body({"endfor"}, "for");
  take();
  return out;
}

std::unique_ptr<Statement> Parser::parse_set(int) {
  ExpressionPtr assigned = target(true);
  if (skip_operator("=")) {
    auto out = make_statement(Statement::Kind::kSet);
    out->target = std::move(assigned);
    out->value = tuple();
    return out;
  }
  auto out = make_statement(Statement::Kind::kSetBlock);
  out->target = std::move(assigned);
  while (is_operator("|")) out->value = filter(std::move(out->value));
  out->body = tag_body({"endset"}, "set");
  take();
  return out;
}

Signature Parser::signature() {
  Signature out;
  expect_operator("(");
  while (!is_operator(")")) {
    if (!out.parameters.empty()) expect_operator(",");
    Parameter parameter;
    parameter.name = expect_name();
    parameter.symbol = program_.symbols.of(parameter.name);
    if (skip_operator("=")) {
      parameter.fallback = expression();
    } else if (!out.parameters.empty() && out.parameters.back().fallback != nullptr) {
      fail_here("non-default argument follows default argument");
    }
    out.parameters.push_back(std::move(parameter));
  }
  expect_operator(")");
  return out;
}

Body Parser::macro_body(Signature& signature, std::string_view end, const std::string& tag) {
  macros_.push_back(&signature);
  Body body = tag_body({end}, tag);
  macros_.pop_back();
  take();
  for (const Parameter& parameter : signature.parameters) {
    if (parameter.name == "kwargs") signature.reads_named = false;
    if (parameter.name == "varargs") signature.reads_rest = false;
    if (parameter.name != "caller" || !signature.reads_caller) continue;
    if (parameter.fallback == nullptr) {
      fail_here(
          "When defining macros or call blocks the special \"caller\" argument must be omitted or be given a "
          "default.");
    }
  }
  return body;
}

std::unique_ptr<Statement> Parser::parse_macro(int) {
  auto out = make_statement(Statement::Kind::kMacro);
  out->name = expect_name();
  out->symbol = program_.symbols.of(out->name);
  out->signature = signature();
  out->body = macro_body(out->signature, "endmacro", "macro");
  return out;
}

std::unique_ptr<Statement> Parser::parse_call_block(int line) {
  auto out = make_statement(Statement::Kind::kCall);
  if (is_operator("(")) out->signature = signature();
  out->value = expression();
  if (out->value->kind != Expression::Kind::kCall) fail_at(line, "expected call");
  out->body = macro_body(out->signature, "endcall", "call");
  return out;
}

std::unique_ptr<Statement> Parser::parse_filter_block(int) {
  auto out = make_statement(Statement::Kind::kFilter);
  out->value = filter(nullptr);
  while (is_operator("|")) out->value = filter(std::move(out->value));
  out->body = tag_body({"endfilter"}, "filter");
  take();
  return out;
}

std::unique_ptr<Statement> Parser::parse_with(int) {
  auto out = make_statement(Statement::Kind::kWith);
  while (!is(Kind::kBlockEnd)) {
    if (!out->assignments.empty()) expect_operator(",");
    ExpressionPtr assigned = target(false);
    expect_operator("=");
    out->assignments.emplace_back(std::move(assigned), expression());
  }
  out->body = tag_body({"endwith"}, "with");
  take();
  return out;
}

std::unique_ptr<Statement> Parser::parse_generation(int) {
  auto out = make_statement(Statement::Kind::kGeneration);
  program_.has_generation = true;
  out->body = tag_body({"endgeneration"}, "generation");
  take();
  return out;
}

std::unique_ptr<Statement> Parser::parse_block(int line) {
  auto out = make_statement(Statement::Kind::kBlock);
  out->name = expect_name();
  if (std::find(blocks_.begin(), blocks_.end(), out->name) != blocks_.end()) {
    fail_at(line, concat("block '", out->name, "' defined twice"));
  }
  blocks_.push_back(out->name);
  out->recursive = skip_name("scoped");
  if (is_name("required")) fail_here("a required block needs a template that extends this one");
  out->body = tag_body({"endblock"}, "block");
  take();
  skip_name(out->name);
  return out;
}

std::unique_ptr<Statement> Parser::parse_print(int line) {
  auto out = make_statement(Statement::Kind::kIf);  // a body alone: several values
  out->value = make(Expression::Kind::kConstant, line);
  out->value->constant = Value(true);
  while (!is(Kind::kBlockEnd)) {
    if (!out->body.empty()) expect_operator(",");
    out->body.push_back(make_statement(Statement::Kind::kOutput));
    out->body.back()->line = line;
    out->body.back()->value = expression();
  }
  return out;
}

std::unique_ptr<Statement> Parser::parse_break(int) { return make_statement(Statement::Kind::kBreak); }
std::unique_ptr<Statement> Parser::parse_continue(int) { return make_statement(Statement::Kind::kContinue); }

// Tags that need other templates, or change how all values are printed: refused when they are reached.
std::unique_ptr<Statement> Parser::parse_unsupported(int) {
  auto out = make_statement(Statement::Kind::kUnsupported);
  out->name = tokens_[at_ - 1].value;
  while (!is(Kind::kBlockEnd) && !is(Kind::kEnd)) take();
  if (out->name == "autoescape") {
    tag_body({"endautoescape"}, "autoescape");
    take();
  }
  return out;
}

ExpressionPtr Parser::target_item(bool with_namespace) {
  const Level level(*this);
  const int line = current().line;
  if (skip_operator("(")) {
    ExpressionPtr inner = target(with_namespace);
    expect_operator(")");
    return inner;
  }
  if (!is(Kind::kName)) fail_here("can't assign to " + described(current()));
  const std::string name = take().value;
  for (const std::string_view word : {"true", "false", "none", "True", "False", "None"}) {
    if (name == word) fail_at(line, concat("can't assign to '", name, "'"));
  }
  const bool attribute = with_namespace && is_operator(".");
  auto out = make(attribute ? Expression::Kind::kNamespace : Expression::Kind::kName, line);
  out->name = name;
  out->symbol = program_.symbols.of(name);
  if (attribute) {
    take();
    out->attribute = expect_name();
  }
  return out;
}

// A name, ns.attribute, or several of them as a tuple.
ExpressionPtr Parser::target(bool with_namespace) {
  const int line = current().line;
  ExpressionPtr first = target_item(with_namespace);
  if (!is_operator(",")) return first;
  ExpressionPtr out = over(Expression::Kind::kTuple, line, std::move(first));
  while (skip_operator(",")) {
    if (is_name("in") || is_operator("=") || is_operator(")") || is(Kind::kBlockEnd)) break;
    add_child(*out, target_item(with_namespace));
  }
  return out;
}

}  // namespace lrqat::chat
