// A parsed template: expressions and statements as trees.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lrqat/chat/filters.h"

namespace lrqat::chat {

using Symbol = int;  // of a variable's name

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind {
    kConstant,   // constant
    kName,       // symbol, name
    kList,       // children
    kTuple,      // children
    kDict,       // children: key, value, key, value …
    kNegative,   // child
    kPositive,   // child
    kNot,        // child
    kAnd,        // two children
    kOr,         // two children
    kCalculate,  // two children, operation
    kConcat,     // children: a ~ b ~ c
    kCompare,    // children, comparisons between them
    kCondition,  // children: value, condition, other value or nothing
    kAttribute,  // child, name
    kItem,       // children: value, index
    kSlice,      // children: value, start, stop, step (nullptr: left out)
    kCall,       // children: function, arguments …
    kFilter,     // children: value (nullptr: the text of a block), arguments …; name, filter
    kTest,       // children: value, arguments …; name, test
    kNamespace,  // a target only: name of the namespace, attribute
  };
  enum class Comparison { kEqual, kUnequal, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

  Kind kind;
  int line = 0;
  int depth = 1;
  Value constant;
  Symbol symbol = -1;
  std::string name;
  std::string attribute;
  Operator operation = Operator::kAdd;
  std::vector<ExpressionPtr> children;
  std::vector<Comparison> comparisons;
  // Of calls, filters and tests.
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr rest;        // *arguments
  ExpressionPtr named_rest;  // **arguments
  const FilterRow* filter = nullptr;
  const TestRow* test = nullptr;
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

struct Parameter {
  Symbol symbol;
  std::string name;
  ExpressionPtr fallback;  // nullptr: none
};

// What a macro takes, and which of its special names its body reads.
struct Signature {
  std::vector<Parameter> parameters;
  bool reads_caller = false;
  bool reads_named = false;  // kwargs
  bool reads_rest = false;   // varargs
};

struct Statement {
  enum class Kind {
    kData,        // data
    kOutput,      // value
    kIf,          // value, body, otherwise
    kFor,         // target, value, condition or nothing, body, otherwise, recursive
    kSet,         // target, value
    kSetBlock,    // target, value (a filter, or nothing), body
    kMacro,       // symbol, name, signature, body
    kCall,        // value (a call), signature, body
    kFilter,      // value (a filter), body
    kWith,        // targets and values, body
    kGeneration,  // body
    kBlock,       // name, body
    kBreak,
    kContinue,
    kUnsupported,  // name of the tag
  };

  Kind kind;
  int line = 0;
  Value data;
  ExpressionPtr target;
  ExpressionPtr value;
  ExpressionPtr condition;
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> assignments;
  Body body;
  Body otherwise;
  bool recursive = false;
  Symbol symbol = -1;
  std::string name;
  Signature signature;
  // Names that are undefined when the body, or the other body, begins (frames.cpp).
  std::vector<Symbol> hidden;
  std::vector<Symbol> hidden_otherwise;
};

// Names of variables as numbers.
class Symbols {
 public:
  Symbol of(const std::string& name);
  const std::string& name(Symbol symbol) const { return names_[static_cast<std::size_t>(symbol)]; }
  Symbol find(const std::string& name) const;  // -1: the template does not have it

 private:
  std::unordered_map<std::string, Symbol> numbers_;
  std::vector<std::string> names_;
};

struct Program {
  std::string where;
  Symbols symbols;
  Symbol loop, caller, kwargs, varargs;
  Body body;
  std::vector<Symbol> hidden;  // as of a statement
  bool has_generation = false;
};

// Error with the line where the text is no template, or has what lrqat does not have.
Program parse(std::string_view source, const std::string& where);

// Names filters and tests that are not known, outside of conditions, as jinja2 does; break and continue
// outside of a loop; a loop that assigns to `loop`.
void check(const Program& program);

// Fills in the hidden names of all blocks.
void find_hidden_names(Program& program);

}  // namespace lrqat::chat
