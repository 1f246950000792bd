// One function a level of precedence, the loosest first.
#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "lrqat/base/error.h"
#include "lrqat/chat/parser.h"

namespace lrqat::chat {
namespace {

constexpr int kDeepestTree = 600;  // a chain such as a + b + c … is a level a link

}  // namespace

ExpressionPtr Parser::make(Expression::Kind kind, int line) const {
  auto out = std::make_unique<Expression>();
  out->kind = kind;
  out->line = line;
  return out;
}

void Parser::add_child(Expression& node, ExpressionPtr child) const {
  if (child != nullptr) node.depth = std::max(node.depth, child->depth + 1);
  if (node.depth > kDeepestTree)
    fail_at(node.line, concat("an expression of more than ", kDeepestTree, " links"));
  node.children.push_back(std::move(child));
}

ExpressionPtr Parser::over(Expression::Kind kind, int line, ExpressionPtr first, ExpressionPtr second) const {
  ExpressionPtr out = make(kind, line);
  add_child(*out, std::move(first));
  if (second != nullptr) add_child(*out, std::move(second));
  return out;
}

ExpressionPtr Parser::expression(bool with_condition) {
  const Level level(*this);
  return with_condition ? condition() : either();
}

bool Parser::at_tuple_end() const {
  return is(Kind::kVariableEnd) || is(Kind::kBlockEnd) || is_operator(")");
}

// An expression, or several with commas between them.
ExpressionPtr Parser::tuple(bool with_condition, bool in_parentheses) {
  const int line = current().line;
  ExpressionPtr out = make(Expression::Kind::kTuple, line);
  bool comma = false;
  while (true) {
    if (!out->children.empty()) {
      if (!skip_operator(",")) break;
      comma = true;
    }
    if (at_tuple_end()) break;
    add_child(*out, expression(with_condition));
  }
  if (!comma && out->children.size() == 1) return std::move(out->children[0]);
  if (out->children.empty() && !in_parentheses)
    fail_here("Expected an expression, found " + described(current()));
  return out;
}

// value if condition else other
ExpressionPtr Parser::condition() {
  int line = current().line;
  ExpressionPtr out = either();
  while (skip_name("if")) {
    ExpressionPtr test = either();
    ExpressionPtr other;
    if (skip_name("else")) {
      const Level level(*this);
      other = condition();
    }
    out = over(Expression::Kind::kCondition, line, std::move(out), std::move(test));
    if (other != nullptr) add_child(*out, std::move(other));
    line = current().line;
  }
  return out;
}

ExpressionPtr Parser::either() {
  const int line = current().line;
  ExpressionPtr out = both();
  while (skip_name("or")) out = over(Expression::Kind::kOr, line, std::move(out), both());
  return out;
}

ExpressionPtr Parser::both() {
  const int line = current().line;
  ExpressionPtr out = negation();
  while (skip_name("and")) out = over(Expression::Kind::kAnd, line, std::move(out), negation());
  return out;
}

ExpressionPtr Parser::negation() {
  const int line = current().line;
  if (!skip_name("not")) return comparison();
  const Level level(*this);
  return over(Expression::Kind::kNot, line, negation());
}

ExpressionPtr Parser::comparison() {
  using Comparison = Expression::Comparison;
  static constexpr std::pair<std::string_view, Comparison> kOperators[] = {
      {"==", Comparison::kEqual},     {"!=", Comparison::kUnequal}, {"<", Comparison::kLess},
      {"<=", Comparison::kLessEqual}, {">", Comparison::kGreater},  {">=", Comparison::kGreaterEqual},
  };
  const int line = current().line;
  ExpressionPtr first = sum();
  ExpressionPtr out;
  while (true) {
    const auto* row = std::find_if(std::begin(kOperators), std::end(kOperators),
                                   [&](const auto& pair) { return is_operator(pair.first); });
    Comparison found = Comparison::kIn;
    if (row != std::end(kOperators)) {
      found = row->second;
    } else if (is_name("not") && following().kind == Kind::kName && following().value == "in") {
      take();
      found = Comparison::kNotIn;
    } else if (!is_name("in")) {
      break;
    }
    take();
    if (out == nullptr) out = over(Expression::Kind::kCompare, line, std::move(first));
    out->comparisons.push_back(found);
    add_child(*out, sum());
  }
  return out != nullptr ? std::move(out) : std::move(first);
}

ExpressionPtr Parser::sum() {
  const int line = current().line;
  ExpressionPtr out = concatenation();
  while (is_operator("+") || is_operator("-")) {
    const Operator operation = take().value == "+" ? Operator::kAdd : Operator::kSubtract;
    out = over(Expression::Kind::kCalculate, line, std::move(out), concatenation());
    out->operation = operation;
  }
  return out;
}

ExpressionPtr Parser::concatenation() {
  const int line = current().line;
  ExpressionPtr first = product();
  if (!is_operator("~")) return first;
  ExpressionPtr out = over(Expression::Kind::kConcat, line, std::move(first));
  while (skip_operator("~")) add_child(*out, product());
  return out;
}

ExpressionPtr Parser::product() {
  static constexpr std::pair<std::string_view, Operator> kOperators[] = {{"*", Operator::kMultiply},
                                                                         {"/", Operator::kDivide},
                                                                         {"//", Operator::kFloorDivide},
                                                                         {"%", Operator::kModulo}};
  const int line = current().line;
  ExpressionPtr out = power();
  while (true) {
    const auto* row = std::find_if(std::begin(kOperators), std::end(kOperators),
                                   [&](const auto& pair) { return is_operator(pair.first); });
    if (row == std::end(kOperators)) return out;
    take();
    out = over(Expression::Kind::kCalculate, line, std::move(out), power());
    out->operation = row->second;
  }
}

ExpressionPtr Parser::power() {
  const int line = current().line;
  ExpressionPtr out = unary();
  while (skip_operator("**")) {
    out = over(Expression::Kind::kCalculate, line, std::move(out), unary());
    out->operation = Operator::kPower;
  }
  return out;
}

ExpressionPtr Parser::unary(bool with_filter) {
  const int line = current().line;
  ExpressionPtr out;
  if (is_operator("-") || is_operator("+")) {
    const Level level(*this);
    const auto kind = take().value == "-" ? Expression::Kind::kNegative : Expression::Kind::kPositive;
    out = over(kind, line, unary(false));
  } else {
    out = primary();
  }
  out = postfix(std::move(out));
  return with_filter ? filters_and_tests(std::move(out)) : std::move(out);
}

ExpressionPtr Parser::primary() {
  if (is_operator("[")) return list();
  if (is_operator("{")) return dict();
  if (skip_operator("(")) {
    const Level level(*this);
    ExpressionPtr inner = tuple(true, true);
    expect_operator(")");
    return inner;
  }
  if (is(Kind::kName)) return name(take());
  if (is(Kind::kText) || is(Kind::kInteger) || is(Kind::kReal)) return literal(take());
  fail_here("unexpected " + described(current()));
}

ExpressionPtr Parser::literal(const Token& token) {
  ExpressionPtr out = make(Expression::Kind::kConstant, token.line);
  if (token.kind == Kind::kText) {
    std::string text = token.value;
    while (is(Kind::kText)) text += take().value;
    out->constant = Value(std::move(text));
  } else if (token.kind == Kind::kReal) {
    out->constant = Value(std::strtod(token.value.c_str(), nullptr));
  } else {
    std::string_view digits = token.value;
    const char letter = digits.size() > 1 ? digits[1] : '0';
    const int base = letter == 'x' || letter == 'X'   ? 16
                     : letter == 'o' || letter == 'O' ? 8
                     : letter == 'b' || letter == 'B' ? 2
                                                      : 10;
    if (base != 10) digits.remove_prefix(2);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (error != std::errc()) fail_at(token.line, "the integer " + token.value + " has more than 64 bits");
    out->constant = Value(value);
  }
  return out;
}

ExpressionPtr Parser::name(const Token& token) {
  const std::string& word = token.value;
  ExpressionPtr out = make(Expression::Kind::kConstant, token.line);
  if (word == "none" || word == "None") return out;
  if (word == "true" || word == "True" || word == "false" || word == "False") {
    out->constant = Value(word == "true" || word == "True");
    return out;
  }
  out->kind = Expression::Kind::kName;
  out->name = word;
  out->symbol = program_.symbols.of(word);
  for (Signature* macro : macros_) {
    macro->reads_caller = macro->reads_caller || word == "caller";
    macro->reads_named = macro->reads_named || word == "kwargs";
    macro->reads_rest = macro->reads_rest || word == "varargs";
  }
  return out;
}

ExpressionPtr Parser::list() {
  ExpressionPtr out = make(Expression::Kind::kList, take().line);
  while (!is_operator("]")) {
    if (!out->children.empty()) expect_operator(",");
    if (is_operator("]")) break;
    add_child(*out, expression());
  }
  expect_operator("]");
  return out;
}

ExpressionPtr Parser::dict() {
  ExpressionPtr out = make(Expression::Kind::kDict, take().line);
  while (!is_operator("}")) {
    if (!out->children.empty()) expect_operator(",");
    if (is_operator("}")) break;
    add_child(*out, expression());
    expect_operator(":");
    add_child(*out, expression());
  }
  expect_operator("}");
  return out;
}

}  // namespace lrqat::chat
