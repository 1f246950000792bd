#include "lrqat/chat/parser.h"

#include <algorithm>

#include "lrqat/base/error.h"

namespace lrqat::chat {
namespace {

constexpr int kDeepestSource = 100;  // tags and brackets inside each other

}  // namespace

Parser::Level::Level(Parser& parser) : parser_(parser) {
  if (++parser_.level_ <= kDeepestSource) return;
  --parser_.level_;
  parser_.fail_here(concat("nested deeper than ", kDeepestSource, " levels"));
}

Parser::Parser(std::string_view source, const std::string& where) : tokens_(tokenize(source, where)) {
  program_.where = where;
  program_.loop = program_.symbols.of("loop");
  program_.caller = program_.symbols.of("caller");
  program_.kwargs = program_.symbols.of("kwargs");
  program_.varargs = program_.symbols.of("varargs");
}

Program Parser::run() {
  program_.body = body_until({}, "");
  return std::move(program_);
}

void Parser::fail_at(int line, const std::string& what) const {
  fail(program_.where, ": line ", line, ": ", what);
}

Token Parser::take() {
  const Token token = current();
  if (token.kind != Kind::kEnd) ++at_;
  return token;
}

bool Parser::is(Kind kind, std::string_view value) const {
  return current().kind == kind && (value.empty() || current().value == value);
}

bool Parser::skip_operator(std::string_view value) { return is_operator(value) && (take(), true); }
bool Parser::skip_name(std::string_view value) { return is_name(value) && (take(), true); }

void Parser::expect_operator(std::string_view value) {
  if (!skip_operator(value)) fail_here(concat("expected '", value, "', found ", described(current())));
}

std::string Parser::expect_name() {
  if (!is(Kind::kName)) fail_here("expected a name, found " + described(current()));
  return take().value;
}

// Statements up to a tag of `ends`, whose name is the current token then. No ends: up to the end of the text.
Body Parser::body_until(Names ends, const std::string& tag) {
  const Level level(*this);
  Body body;
  const auto add = [&](Statement::Kind kind, int line) -> Statement& {
    body.push_back(std::make_unique<Statement>());
    body.back()->kind = kind;
    body.back()->line = line;
    return *body.back();
  };
  while (true) {
    const int line = current().line;
    if (is(Kind::kEnd)) {
      if (ends.size() == 0) return body;
      fail_here(concat("Unexpected end of template: {% ", tag, " %} has no {% ", *(ends.end() - 1), " %}"));
    }
    if (is(Kind::kData)) {
      add(Statement::Kind::kData, line).data = Value(take().value);
    } else if (is(Kind::kVariableBegin)) {
      take();
      ExpressionPtr value = tuple();
      if (!is(Kind::kVariableEnd)) fail_here("expected '}}', found " + described(current()));
      take();
      add(Statement::Kind::kOutput, line).value = std::move(value);
    } else {
      take();  // {%
      if (is(Kind::kName) && std::find(ends.begin(), ends.end(), current().value) != ends.end()) return body;
      body.push_back(statement());
      if (!is(Kind::kBlockEnd)) fail_here("expected '%}', found " + described(current()));
      take();
    }
  }
}

Body Parser::tag_body(Names ends, const std::string& tag) {
  skip_operator(":");
  if (!is(Kind::kBlockEnd)) fail_here("expected '%}', found " + described(current()));
  take();
  return body_until(ends, tag);
}

std::unique_ptr<Statement> Parser::statement() {
  if (!is(Kind::kName)) fail_here("expected the name of a tag, found " + described(current()));
  const Token token = take();
  const Rule rule = rule_of(token.value);
  if (rule == nullptr) {
    fail_at(token.line, concat("Encountered unknown tag '", token.value, "'"));
  }
  auto out = (this->*rule)(token.line);
  out->line = token.line;
  return out;
}

Program parse(std::string_view source, const std::string& where) {
  Program program = Parser(source, where).run();
  check(program);
  find_hidden_names(program);
  return program;
}

Symbol Symbols::of(const std::string& name) {
  const auto [place, is_new] = numbers_.try_emplace(name, static_cast<Symbol>(names_.size()));
  if (is_new) names_.push_back(name);
  return place->second;
}

Symbol Symbols::find(const std::string& name) const {
  const auto place = numbers_.find(name);
  return place == numbers_.end() ? -1 : place->second;
}

}  // namespace lrqat::chat
