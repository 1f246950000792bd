// The parser behind parse (syntax.h): jinja2's grammar, rule by rule.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/chat/lexer.h"
#include "lrqat/chat/syntax.h"

namespace lrqat::chat {

class Parser {
 public:
  Parser(std::string_view source, const std::string& where);
  Program run();

 private:
  using Kind = Token::Kind;
  using Names = std::initializer_list<std::string_view>;

  // Tokens (parser.cpp).
  const Token& current() const { return tokens_[at_]; }
  const Token& following() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take();
  bool is(Kind kind, std::string_view value = {}) const;
  bool is_operator(std::string_view value) const { return is(Kind::kOperator, value); }
  bool is_name(std::string_view value) const { return is(Kind::kName, value); }
  bool skip_operator(std::string_view value);
  bool skip_name(std::string_view value);
  void expect_operator(std::string_view value);
  std::string expect_name();
  [[noreturn]] void fail_at(int line, const std::string& what) const;
  [[noreturn]] void fail_here(const std::string& what) const { fail_at(current().line, what); }

  // Statements (parser.cpp, parse_tags.cpp).
  Body body_until(Names ends, const std::string& tag);
  Body tag_body(Names ends, const std::string& tag);  // behind the tag's own end
  std::unique_ptr<Statement> statement();
  void close(Body& body, Statement& into, Names ends, const std::string& tag);
  using Rule = std::unique_ptr<Statement> (Parser::*)(int line);
  static Rule rule_of(const std::string& tag);
  std::unique_ptr<Statement> parse_if(int line);
  std::unique_ptr<Statement> parse_for(int line);
  std::unique_ptr<Statement> parse_set(int line);
  std::unique_ptr<Statement> parse_macro(int line);
  std::unique_ptr<Statement> parse_call_block(int line);
  std::unique_ptr<Statement> parse_filter_block(int line);
  std::unique_ptr<Statement> parse_with(int line);
  std::unique_ptr<Statement> parse_generation(int line);
  std::unique_ptr<Statement> parse_block(int line);
  std::unique_ptr<Statement> parse_print(int line);
  std::unique_ptr<Statement> parse_break(int line);
  std::unique_ptr<Statement> parse_continue(int line);
  std::unique_ptr<Statement> parse_unsupported(int line);
  Signature signature();
  Body macro_body(Signature& signature, std::string_view end, const std::string& tag);
  ExpressionPtr target(bool with_namespace);
  ExpressionPtr target_item(bool with_namespace);

  // Expressions (parse_expressions.cpp).
  struct Arguments;
  ExpressionPtr expression(bool with_condition = true);
  ExpressionPtr tuple(bool with_condition = true, bool in_parentheses = false);
  ExpressionPtr condition();
  ExpressionPtr either();
  ExpressionPtr both();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filter = true);
  ExpressionPtr primary();
  ExpressionPtr literal(const Token& token);
  ExpressionPtr name(const Token& token);
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr postfix(ExpressionPtr node);
  ExpressionPtr filters_and_tests(ExpressionPtr node);
  ExpressionPtr subscript(ExpressionPtr node);
  ExpressionPtr index(ExpressionPtr node, int line);
  ExpressionPtr call(ExpressionPtr node);
  ExpressionPtr filter(ExpressionPtr node);
  ExpressionPtr test(ExpressionPtr node);
  void arguments(Expression& into);
  void argument(Expression& into, bool& named);
  bool at_tuple_end() const;
  bool at_test_argument() const;
  ExpressionPtr make(Expression::Kind kind, int line) const;
  // A node over others; Error where the tree becomes too deep.
  ExpressionPtr over(Expression::Kind kind, int line, ExpressionPtr first,
                     ExpressionPtr second = nullptr) const;
  void add_child(Expression& node, ExpressionPtr child) const;

  // One level of the parser's own recursion as long as it lives.
  class Level {
   public:
    explicit Level(Parser& parser);
    ~Level() { --parser_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Parser& parser_;
  };

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int level_ = 0;
  Program program_;
  std::vector<Signature*> macros_;  // whose bodies are being read
  std::vector<std::string> blocks_;
};

}  // namespace lrqat::chat
