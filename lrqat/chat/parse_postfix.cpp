// What stands behind a value: attributes, items, calls, filters, tests.
#include <algorithm>

#include "lrqat/chat/parser.h"

namespace lrqat::chat {

ExpressionPtr Parser::postfix(ExpressionPtr node) {
  while (true) {
    if (is_operator(".") || is_operator("[")) {
      node = subscript(std::move(node));
    } else if (is_operator("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPtr Parser::filters_and_tests(ExpressionPtr node) {
  while (true) {
    if (is_operator("|")) {
      node = filter(std::move(node));
    } else if (is_name("is")) {
      node = test(std::move(node));
    } else if (is_operator("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPtr Parser::subscript(ExpressionPtr node) {
  const int line = current().line;
  if (!skip_operator(".")) {
    take();  // [
    return index(std::move(node), line);
  }
  if (is(Kind::kInteger)) return over(Expression::Kind::kItem, line, std::move(node), literal(take()));
  if (!is(Kind::kName)) fail_here("expected name or number, found " + described(current()));
  ExpressionPtr out = over(Expression::Kind::kAttribute, line, std::move(node));
  out->name = take().value;
  return out;
}

// Behind "[": an index, several of them (a tuple), or a slice.
ExpressionPtr Parser::index(ExpressionPtr node, int line) {
  ExpressionPtr parts[3];
  std::size_t count = 0;
  bool slice = false;
  while (!is_operator("]")) {
    if (skip_operator(":")) {
      slice = true;
      if (++count > 2) fail_here("a slice has at most three parts");
    } else if (is_operator(",")) {
      if (slice) fail_here("a slice beside another index is not one that lrqat has");
      ExpressionPtr several = over(Expression::Kind::kTuple, line, std::move(parts[0]));
      while (skip_operator(",")) add_child(*several, expression());
      expect_operator("]");
      return over(Expression::Kind::kItem, line, std::move(node), std::move(several));
    } else {
      if (parts[count] != nullptr) fail_here("expected ']', found " + described(current()));
      parts[count] = expression();
    }
  }
  take();
  if (!slice) {
    if (parts[0] == nullptr) parts[0] = make(Expression::Kind::kTuple, line);
    return over(Expression::Kind::kItem, line, std::move(node), std::move(parts[0]));
  }
  ExpressionPtr out = over(Expression::Kind::kSlice, line, std::move(node));
  for (ExpressionPtr& part : parts) add_child(*out, std::move(part));
  return out;
}

ExpressionPtr Parser::call(ExpressionPtr node) {
  ExpressionPtr out = over(Expression::Kind::kCall, current().line, std::move(node));
  arguments(*out);
  return out;
}

void Parser::arguments(Expression& into) {
  const Level level(*this);
  expect_operator("(");
  bool any = false, named = false;
  while (!is_operator(")")) {
    if (any) expect_operator(",");
    if (any && is_operator(")")) break;
    any = true;
    argument(into, named);
  }
  expect_operator(")");
}

void Parser::argument(Expression& into, bool& named) {
  const auto deepen = [&](const Expression& child) { into.depth = std::max(into.depth, child.depth + 1); };
  const auto ensure = [&](bool ok) {
    if (!ok) fail_here("invalid syntax for function call expression");
  };
  if (skip_operator("*")) {
    ensure(into.rest == nullptr && into.named_rest == nullptr);
    into.rest = expression();
    deepen(*into.rest);
  } else if (skip_operator("**")) {
    ensure(into.named_rest == nullptr);
    into.named_rest = expression();
    deepen(*into.named_rest);
  } else if (is(Kind::kName) && following().kind == Kind::kOperator && following().value == "=") {
    ensure(into.named_rest == nullptr);
    const std::string name = take().value;
    take();
    for (const auto& [other, value] : into.named) {
      if (other == name) fail_here("keyword argument repeated: " + name);
    }
    named = true;
    into.named.emplace_back(name, expression());
    deepen(*into.named.back().second);
  } else {
    ensure(into.rest == nullptr && into.named_rest == nullptr && !named);
    add_child(into, expression());
  }
}

// "| name(arguments)"; also a name alone at the begin of a filter block.
ExpressionPtr Parser::filter(ExpressionPtr node) {
  skip_operator("|");
  const int line = current().line;
  ExpressionPtr out = make(Expression::Kind::kFilter, line);
  add_child(*out, std::move(node));
  out->name = expect_name();
  while (skip_operator(".")) out->name.append(".").append(expect_name());
  out->filter = find_filter(out->name);
  if (is_operator("(")) arguments(*out);
  return out;
}

bool Parser::at_test_argument() const {
  if (is_name("else") || is_name("or") || is_name("and")) return false;
  return is(Kind::kName) || is(Kind::kText) || is(Kind::kInteger) || is(Kind::kReal) || is_operator("[") ||
         is_operator("{");
}

// "is [not] name", with arguments in parentheses, or one without.
ExpressionPtr Parser::test(ExpressionPtr node) {
  const int line = take().line;  // is
  const bool negated = skip_name("not");
  ExpressionPtr out = over(Expression::Kind::kTest, line, std::move(node));
  out->name = expect_name();
  while (skip_operator(".")) out->name.append(".").append(expect_name());
  out->test = find_test(out->name);
  if (is_operator("(")) {
    arguments(*out);
  } else if (at_test_argument()) {
    if (is_name("is")) fail_here("You cannot chain multiple tests with is");
    add_child(*out, postfix(primary()));
  }
  return negated ? over(Expression::Kind::kNot, line, std::move(out)) : std::move(out);
}

}  // namespace lrqat::chat
