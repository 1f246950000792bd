// What jinja2 has no say in: messages of errors, limits, where text comes from.
#include "lrqat/chat/chat_template.h"

#include <gtest/gtest.h>

#include "fixtures.h"

namespace lrqat::chat {
namespace {

std::string repeated(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

std::string message_of(const std::string& text) {
  return error_of([&] { render(text); });
}

TEST(ChatTemplateErrors, NameTheLineAndWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\n{{ 1 + 'x' }}", "test: line 2: unsupported operand type(s) for +: 'int' and 'str'"},
      {"{% if true %}\n\n{{ foo.bar }}{% endif %}", "test: line 3: 'foo' is undefined"},
      {"{% macro m() %}\n{{ 1 // 0 }}\n{% endmacro %}\n{{ m() }}",
       "test: line 2: integer division or modulo by zero"},
      {"\n{% if x %}", "test: line 2: Unexpected end of template: {% if %} has no {% endif %}"},
      {"\n\n{% do x %}", "test: line 3: Encountered unknown tag 'do'"},
      {"{{ 'a\n' }}\n{{ x|nope }}", "test: line 3: No filter named 'nope'."},
      {"{{ x is nope }}", "test: line 1: No test named 'nope'."},
      {"{{ 'a'\n|wordwrap }}", "test: line 2: the filter 'wordwrap' of jinja2 is not one that lrqat has"},
      {"{% include 'x' %}", "test: line 1: the tag {% include %} is not one that lrqat has"},
      {"{{ 'a'.encode() }}", "test: line 1: the method str.encode is not one that lrqat has"},
      {"{{ lipsum() }}", "test: line 1: the function lipsum is not one that lrqat has"},
      {"{{ 99999999999999999999 }}", "test: line 1: the integer 99999999999999999999 has more than 64 bits"},
      {"{{ 9223372036854775807 + 1 }}",
       "test: line 1: an integer of more than 64 bits, which lrqat does not have"},
      {"{{ (1 }}", "test: line 1: unexpected '}', expected ')'"},
      {"{# x", "test: line 1: Missing end of comment tag"},
      {"{% raw %}", "test: line 1: Missing end of raw directive"},
      {"{{ 'x }}", "test: line 1: a text that begins with ' does not end"},
      {"{{ a ? b }}", "test: line 1: unexpected character '?'"},
      {"{% break %}", "test: line 1: break and continue stand in a loop only"},
  };
  for (const auto& [text, wanted] : cases) EXPECT_EQ(message_of(text), wanted) << text;
}

TEST(ChatTemplateErrors, RaiseExceptionIsARefusalWithItsMessage) {
  const ChatTemplate chat_template("\n{{ raise_exception('Roles must alternate: ' ~ messages|length) }}",
                                   "model/x.jinja");
  try {
    chat_template.render(json(R"([{"role": "user"}])"));
    FAIL();
  } catch (const TemplateRefusal& refusal) {
    EXPECT_EQ(refusal.message(), "Roles must alternate: 1");
    EXPECT_STREQ(
        refusal.what(),
        "model/x.jinja: line 2: the chat template refuses the conversation: Roles must alternate: 1");
  }
}

TEST(ChatTemplateErrors, WhatIsGivenMustBeAConversation) {
  const ChatTemplate chat_template("{{ messages|length }}", "test");
  const auto message = [&](const char* messages, OrderedJson variables = {}) {
    return error_of([&] { chat_template.render(json(messages), with_variables(variables)); });
  };
  EXPECT_EQ(message("{}"), "test: the messages are object, expected a list of objects");
  EXPECT_EQ(message(R"([{}, "x"])"), "test: message 1 is string, expected an object");
  EXPECT_EQ(message(R"([{"id": 18446744073709551615}])"),
            "test: the number 18446744073709551615 is beyond 64 bits; write it as a text");
  EXPECT_EQ(message("[]", json("[1]")), "test: further variables are array, expected an object");
  EXPECT_EQ(message("[]", json(R"({"messages": []})")),
            "test: the variable `messages` is the conversation; it cannot be given beside it");
  EXPECT_EQ(message("[]"), "");
}

// Each of these would crash or run for ever without a limit.
TEST(ChatTemplateLimits, HostileTemplatesAreRefused) {
  const std::string deep = "nested deeper than", links = "links";
  const std::pair<std::string, std::string> cases[] = {
      {"{{ " + repeated("(", 100'000), deep},
      {"{{ " + repeated("[", 100'000), deep},
      {"{{ " + repeated("{1:", 100'000), deep},
      {"{{ " + repeated("-", 100'000) + "1 }}", deep},
      {"{{ " + repeated("not ", 100'000) + "1 }}", deep},
      {"{{ " + repeated("f(", 100'000), deep},
      {"{{ " + repeated("a[", 100'000), deep},
      {"{{ " + repeated("1 if 1 else ", 100'000) + "1 }}", deep},
      {repeated("{% if 1 %}", 100'000), deep},
      {repeated("{% for a in b %}", 100'000), deep},
      {"{% set " + repeated("(", 100'000), deep},
      {"{{ 1" + repeated("+1", 100'000) + " }}", links},
      {"{{ a" + repeated(".a", 100'000) + " }}", links},
      {"{{ a" + repeated("|e", 100'000) + " }}", links},
      {"{{ a" + repeated("()", 100'000) + " }}", links},
      {"{{ 1" + repeated(" and 1", 100'000) + " }}", links},
      {"{% if 1 %}" + repeated("{% elif 1 %}", 100'000), "branches"},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nests deeper than"},
      {"{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", "nests deeper than"},
      {"{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}", deep},
      {"{% set n = namespace(x={}) %}{% for i in range(9999) %}{% set n.x = {1: n.x} %}{% endfor %}", deep},
      {"{% set n = namespace(x=[1]) %}{% for i in range(9999) %}{% set n.x = n.x|map('e') %}{% endfor %}",
       deep},
      {"{% set n = namespace() %}{% set n.n = n %}{{ n }}", "nests deeper than"},
      {"{% set n = namespace() %}{% set n.n = [n] %}{{ n.n }}", "nests deeper than"},
      {"{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
       "more than"},
      {"{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
       "more than"},
      {"{{ 'a' * 9223372036854775807 }}", "more than"},
      {"{{ [1] * 9223372036854775807 }}", "more than"},
      {"{{ 'a'.center(9223372036854775807) }}", "more than"},
      {"{{ '%9999999999d' % 1 }}{{ '%9999999d' % 1 }}" + repeated("{{ '%9999999d' % 1 }}", 200), "more than"},
      {"{{ '{:>9999999}'.format(1) }}" + repeated("{{ '{:>9999999}'.format(1) }}", 200), "more than"},
      {"{{ range(10 ** 9) }}", "Range too big"},
      {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps"},
      {"{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}", "steps"},
      {"{{ range(99999)|map('string')|join|length }}" + repeated("{{ range(99999)|list|sort|sum }}", 500),
       "steps"},
      {"{{ 2 ** 10 ** 9 }}", "64 bits"},
      {"{{ (-9223372036854775807 - 1) // -1 }}", "64 bits"},
      {"{{ -(-9223372036854775807 - 1) }}", "64 bits"},
  };
  RenderOptions options;
  options.limits.steps = 500'000;
  options.limits.bytes = 100'000'000;
  for (const auto& [text, wanted] : cases) {
    const std::string said =
        error_of([&] { ChatTemplate(text, "test").render(OrderedJson::array(), options); });
    EXPECT_NE(said.find(wanted), std::string::npos) << text.substr(0, 80) << ": " << said;
  }
}

// Two lists with 2^60 ways through them: comparing, printing and hashing them must end.
TEST(ChatTemplateLimits, SharedValuesDoNotTakeForEver) {
  const std::string build =
      "{% set n = namespace(x=(1,), y=(1,)) %}{% for i in range(60) %}"
      "{% set n.x = (n.x, n.x) %}{% set n.y = (n.y, n.y) %}{% endfor %}";
  RenderOptions options;
  options.limits.steps = 1'000'000;
  for (const char* use : {"{{ n.x == n.y }}", "{{ n.x < n.y }}", "{{ n.x }}", "{{ n.x|tojson }}",
                          "{{ {n.x: 1}[n.y] }}", "{{ n.x|string|length }}"}) {
    EXPECT_NE(error_of([&] { ChatTemplate(build + use, "test").render(OrderedJson::array(), options); }), "")
        << use;
  }
}

TEST(ChatTemplateLimits, WhatIsUsualFits) {
  EXPECT_EQ(render("{% set n = namespace(x=0) %}{% for a in range(900) %}{% for b in range(100) %}"
                   "{% set n.x = n.x + 1 %}{% endfor %}{% endfor %}{{ n.x }}"),
            "90000");
  EXPECT_EQ(render("{{ 1" + repeated(" + 1", 300) + " }}"), "301");
  EXPECT_EQ(render("{% macro m(n) %}{% if n %}{% for i in [1] %}x{{ m(n - 1) }}{% endfor %}{% endif %}{% "
                   "endmacro %}{{ m(60) }}"),
            std::string(60, 'x'));
}

// Objects that refer to each other are let go: the leak checker of `make asan` sees when they are not.
TEST(ChatTemplateLimits, CyclesAreLetGo) {
  EXPECT_EQ(render("{% set n = namespace() %}{% macro m() %}{{ n.x is defined }}{% endmacro %}{% set n.m = m "
                   "%}{% set n.n = n %}"
                   "{% for i in [1] %}{% macro k() %}{{ i }}{{ loop.index }}{% endmacro %}{% set n.x = [k, "
                   "loop] %}{% endfor %}"
                   "{{ n.m() }}{{ n.x[0]() }}"),
            "True11");
}

TEST(ChatTemplateText, KeysKeepTheirOrderAndReasoningHasItsNames) {
  const ChatTemplate chat_template("{{ messages|tojson }}", "test");
  EXPECT_EQ(chat_template.render(
                json(R"([{"role": "assistant", "reasoning": "r", "b": 1, "a": {"z": 1, "y": 2}}])")),
            R"([{"thinking": "r", "role": "assistant", "reasoning": "r", "b": 1, "a": {"z": 1, "y": 2}, )"
            R"("reasoning_content": "r"}])");
}

TEST(ChatTemplateText, TokensAndVariables) {
  RenderOptions options;
  options.bos_token = "<s>";
  options.variables = json(R"({"eos_token": "</s>", "enable_thinking": false})");
  const ChatTemplate chat_template(
      "{{ bos_token }}{{ eos_token }}{{ enable_thinking }}{{ unk_token }}{{ tools }}", "test");
  EXPECT_EQ(chat_template.render(OrderedJson::array(), options), "<s></s>FalseNone");
}

TEST(ChatTemplateText, BytesThatAreNoCharactersPassThrough) {
  const std::string broken = "\xff\xc3(\xed\xa0\x80|";  // a surrogate among them, as parse_json reads it
  OrderedJson variables = {{"x", broken}};
  for (const char* text :
       {"{{ x }}", "{{ x[:] }}", "{{ x.strip() }}", "{{ x|replace('q', '') }}", "{{ x|list|join }}"}) {
    EXPECT_EQ(ChatTemplate(text, "test").render(OrderedJson::array(), with_variables(variables)), broken)
        << text;
  }
  for (const char* text :
       {"{{ x|tojson }}", "{{ [x] }}", "{{ x|upper }}", "{{ x|title }}", "{{ x[::-1] }}", "{{ x|length }}"}) {
    EXPECT_NO_THROW(ChatTemplate(text, "test").render(OrderedJson::array(), with_variables(variables)))
        << text;
  }
}

std::string parts(const std::string& text, const std::vector<Span>& spans) {
  std::string out;
  for (const Span& span : spans) out += "[" + text.substr(span.begin, span.end - span.begin) + "]";
  return out;
}

TEST(ChatTemplateOrigin, FollowsTextThroughFiltersAndMethods) {
  const OrderedJson messages =
      json(R"([{"role": "user", "content": " ab "}, {"role": "assistant", "content": "x</t>YZ",
                                         "calls": [{"k": "v", "n": 1}]}])");
  const std::pair<const char*, const char*> cases[] = {
      {"<{{ m1.content }}>", "[x</t>YZ]"},
      {"{{ '<' + m1.content + '>' }}", "[x</t>YZ]"},
      {"{{ '<' ~ m1.content ~ '>' }}", "[x</t>YZ]"},
      {"{{ m1.content.split('</t>')[-1] }}|{{ m1.content.split('</t>')[0] }}", "[YZ][x]"},
      {"{{ m1['content'][1:3] }}!", "[</]"},
      {"{{ m0.content }}{{ m1.content }}", "[x</t>YZ]"},
      {"{{ [m0.content|trim, m1.content]|join('-') }}", "[x</t>YZ]"},
      {"{{ m1.content|upper }}{{ m1.content|replace('</t>', '--') }}", "[X</T>YZx][YZ]"},
      {"{{ m1.calls|tojson }}", "[[{\"k\": \"v\", \"n\": 1}]]"},
      {"{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(m1.content) }}", "[x</t>YZ]"},
      {"{% set b %}a{{ m1.content }}c{% endset %}{{ b }}{{ b|trim }}", "[x</t>YZ][x</t>YZ]"},
      {"{{ '%s=%s' % (m1.calls[0].k, 1) }}{{ '{}'.format(m1.calls[0].k) }}", "[v][v]"},
      {"{{ m1.role }}{{ m1.calls[0].n }}", ""},
  };
  for (const auto& [text, wanted] : cases) {
    const ChatTemplate chat_template(
        "{% set m0 = messages[0] %}{% set m1 = messages[1] %}" + std::string(text), "test");
    const Rendered rendered = chat_template.render_tracked(messages);
    EXPECT_EQ(parts(rendered.text, rendered.messages[1]), wanted) << text << " gives " << rendered.text;
    EXPECT_EQ(rendered.text, chat_template.render(messages));
  }
}

TEST(ChatTemplateOrigin, GenerationIsFoundAlsoInMacrosAndBlocks) {
  const std::pair<const char*, const char*> cases[] = {
      {"a{% generation %}b{% endgeneration %}c{% generation %}d{% endgeneration %}", "[b][d]"},
      {"{% macro m() %}x{% generation %}é{% endgeneration %}y{% endmacro %}1{{ m() }}2{{ m() }}", "[é][é]"},
      {"{% set s %}x{% generation %}b{% endgeneration %}{% endset %}12{{ s }}", "[b]"},
      {"{% generation %}{% endgeneration %}", ""},
      {"{%- generation -%}  b  {%- endgeneration -%}  ", "[b]"},
      {"{% for i in [1, 2] %}{% generation %}{{ i }}{% endgeneration %}{% endfor %}", "[12]"},
  };
  for (const auto& [text, wanted] : cases) {
    const ChatTemplate chat_template(text, "test");
    const Rendered rendered = chat_template.render_tracked(OrderedJson::array());
    EXPECT_EQ(parts(rendered.text, rendered.generation), wanted) << text;
    EXPECT_TRUE(chat_template.marks_generation());
  }
  EXPECT_FALSE(ChatTemplate("x", "test").marks_generation());
}

}  // namespace
}  // namespace lrqat::chat
