// What can be said of a template before it runs.
#include "lrqat/base/error.h"
#include "lrqat/chat/syntax.h"

namespace lrqat::chat {
namespace {

class Checker {
 public:
  explicit Checker(const std::string& where) : where_(where) {}

  // `soft`: inside of an if, where unknown names fail only when they are reached. `in_loop`: break may stand
  // here.
  void body(const Body& statements, bool soft, bool in_loop) {
    for (const auto& statement : statements) check_statement(*statement, soft, in_loop);
  }

 private:
  [[noreturn]] void fail_at(int line, const std::string& what) { fail(where_, ": line ", line, ": ", what); }

  void check_statement(const Statement& node, bool soft, bool in_loop) {
    using Kind = Statement::Kind;
    if (node.value != nullptr) expression(*node.value, node.kind == Kind::kIf || soft);
    switch (node.kind) {
      case Kind::kIf:
        body(node.body, true, in_loop);
        return body(node.otherwise, true, in_loop);
      case Kind::kFor:
        check_loop_target(*node.target);
        if (node.condition != nullptr) expression(*node.condition, false);
        body(node.body, false, true);
        return body(node.otherwise, false, in_loop && !node.recursive);
      case Kind::kMacro:
      case Kind::kCall:
        for (const Parameter& parameter : node.signature.parameters) {
          if (parameter.fallback != nullptr) expression(*parameter.fallback, false);
        }
        return body(node.body, false, false);
      case Kind::kGeneration:
      case Kind::kBlock:
        return body(node.body, false, false);
      case Kind::kWith:
        for (const auto& [target, value] : node.assignments) expression(*value, soft);
        return body(node.body, false, in_loop);
      case Kind::kBreak:
      case Kind::kContinue:
        if (!in_loop) fail_at(node.line, "break and continue stand in a loop only");
        return;
      default:
        body(node.body, false, in_loop);
    }
  }

  void check_loop_target(const Expression& target) {
    if (target.kind == Expression::Kind::kName && target.name == "loop") {
      fail_at(target.line, "Can't assign to special loop variable in for-loop target");
    }
    for (const auto& child : target.children) check_loop_target(*child);
  }

  void expression(const Expression& node, bool soft) {
    using Kind = Expression::Kind;
    const bool soft_inside = soft || node.kind == Kind::kCondition;
    for (const auto& child : node.children) {
      if (child != nullptr) expression(*child, soft_inside);
    }
    for (const auto& [name, value] : node.named) expression(*value, soft_inside);
    if (node.rest != nullptr) expression(*node.rest, soft_inside);
    if (node.named_rest != nullptr) expression(*node.named_rest, soft_inside);
    if (soft) return;
    if (node.kind == Kind::kFilter && (node.filter == nullptr || node.filter->call == nullptr)) {
      fail_at(node.line, missing_filter(node.name));
    }
    if (node.kind == Kind::kTest && node.test == nullptr) fail_at(node.line, missing_test(node.name));
  }

  const std::string& where_;
};

}  // namespace

void check(const Program& program) { Checker(program.where).body(program.body, false, false); }

}  // namespace lrqat::chat
