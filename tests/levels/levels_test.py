"""The rules of the source tree (docs/architecture.md), held by a script:

  levels     an #include of lrqat/ names a lower level, or one of the few sideways ones
  torch      base, kernels, formats, text, corpus and chat never see torch
  quiet      the library never prints or exits: only lrqat/cli does
  names      messages of the library name fields (`rank`), not flags: it does not know of a command line
  tests      every *_test.cpp and *_test.py lies in a folder that tests/CMakeLists.txt registers
  length     no file of lrqat/ is longer than 350 lines, no other source file than 600
  functions  no function of lrqat/ is longer than 60 lines

Every rule is first run on a small tree that breaks it (negative control). Standard library only.
"""

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEVELS = {"base": 0, "kernels": 1, "formats": 1, "text": 1, "chat": 1, "corpus": 2, "ops": 2, "quant": 3, "nn": 4, "methods": 4,
          "model": 5, "start": 6, "train": 7, "eval": 7, "export": 7, "cli": 8}
SIDEWAYS = set()
WITHOUT_TORCH = {"base", "kernels", "formats", "text", "corpus", "chat"}
MAX_LINES = {"lrqat": 350, "tests": 600, "bench": 600, "examples": 600, "tools": 600}
MAX_FUNCTION_LINES = 60

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.M)
TORCH = re.compile(r"^(ATen|torch|c10|caffe2)/")
PRINTS = re.compile(r"\bstd::(cout|cerr|clog)\b|(?<![\w.>])(?:std::)?"
                    r"(printf|fprintf|vprintf|vfprintf|puts|fputs|putchar|perror|exit|_exit|_Exit|quick_exit|abort)\s*\(")


def sources(root, *folders, suffixes=(".h", ".cpp")):
    for folder in folders:
        yield from sorted(p for p in (root / folder).rglob("*") if p.suffix in suffixes and p.is_file())


def code_of(text):
    """The text without comments and string literals, line breaks kept."""
    pattern = r'R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/'
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", "", m.group()) or " ", text, flags=re.S)


def check_levels(root):
    for path in sources(root, "lrqat"):
        folder = path.relative_to(root / "lrqat").parts[0]
        if folder not in LEVELS:
            yield f"{path.relative_to(root)}: lrqat/{folder} has no level"
            continue
        for name in INCLUDE.findall(path.read_text()):
            if folder in WITHOUT_TORCH and TORCH.match(name):
                yield f"{path.relative_to(root)}: includes {name}, but {folder} must not see torch"
            if not name.startswith("lrqat/"):
                continue
            other = name.split("/")[1]
            if other != folder and (folder, other) not in SIDEWAYS and LEVELS.get(other, 99) >= LEVELS[folder]:
                yield f"{path.relative_to(root)}: level {LEVELS[folder]} includes {name} of level {LEVELS.get(other)}"


def check_libraries(root):
    """lrqat/CMakeLists.txt says the same levels, and links nothing that they forbid."""
    text = (root / "lrqat" / "CMakeLists.txt").read_text()
    rows = re.findall(r"^lrqat_library\((\w+) LEVEL (\d+)([^)]*)\)", text, re.M)
    if not rows:
        yield "lrqat/CMakeLists.txt declares no library"
    for name, level, rest in rows:
        if LEVELS.get(name) != int(level):
            yield f"lrqat/CMakeLists.txt: {name} has level {level}, expected {LEVELS.get(name)}"
        depends = re.search(r"DEPENDS ([\w ]+?)(?: LINK|$)", rest)
        for other in depends.group(1).split() if depends else []:
            if (name, other) not in SIDEWAYS and LEVELS.get(other, 99) >= LEVELS.get(name, 0):
                yield f"lrqat/CMakeLists.txt: {name} depends on {other}"


def check_quiet(root):
    for path in sources(root, "lrqat"):
        if path.relative_to(root).parts[1] == "cli":
            continue
        for number, line in enumerate(code_of(path.read_text()).split("\n"), 1):
            if PRINTS.search(line):
                yield f"{path.relative_to(root)}:{number}: the library prints or exits: {line.strip()}"


def check_names(root):
    token = r'R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/'
    for path in sources(root, "lrqat"):
        if path.relative_to(root).parts[1] == "cli":
            continue
        for match in re.finditer(token, path.read_text(), re.S):
            text = match.group()
            command = re.search(r"\b(lrqat [a-z]+|pip install)\b", text)  # of a shell, written in full
            if text[0] != "/" and re.search(r"(?<![\w-])--[a-z]", text) and not command:
                yield f"{path.relative_to(root)}: a message names a flag, not a field: {text}"


def check_tests(root):
    text = re.sub(r"#[^\n]*", "", (root / "tests" / "CMakeLists.txt").read_text())
    registered = set(re.findall(r"lrqat_test\((\w+)", text))
    for variable, folders in re.findall(r"foreach\((folder) ([\w ]+)\)", text):
        registered |= set(folders.split())
    labels = {label for _, found in re.findall(r"foreach\((label) ([\w ]+)\)", text) for label in found.split()}
    for path in sources(root, "tests", suffixes=(".cpp",)):
        if path.name.endswith("_test.cpp") and path.parent.relative_to(root / "tests").as_posix() not in registered:
            yield f"{path.relative_to(root)}: no executable of tests/CMakeLists.txt has this folder"
    for path in sources(root, "tests", suffixes=(".py",)):
        if path.name.endswith("_test.py") and path.parent.relative_to(root / "tests").as_posix() not in labels:
            yield f"{path.relative_to(root)}: tests/CMakeLists.txt runs no Python tests of this folder"
    for path in sources(root, "tests", suffixes=(".cpp",)):
        if re.search(r"^\s*(TEST|TEST_F|TEST_P)\(", path.read_text(), re.M) and not path.name.endswith("_test.cpp"):
            yield f"{path.relative_to(root)}: holds tests, but is not named *_test.cpp"


def check_length(root):
    for folder, most in MAX_LINES.items():
        for path in sources(root, folder, suffixes=(".h", ".cpp", ".py")):
            count = path.read_text().count("\n")
            if count > most:
                yield f"{path.relative_to(root)}: {count} lines, at most {most}"


def without_parentheses(text):
    """The text without what stands in parentheses, one pair of them kept for each."""
    while (shorter := re.sub(r"\([^()]+\)", "()", text)) != text:
        text = shorter
    return text


NO_SIGNATURE = r"\btemplate\s*<[^<>]*(<[^<>]*>[^<>]*)*>|\boperator\s*[^\s(]+"  # parts in which a "=" may stand


def functions(text):
    """(first line, lines) of every function with a body that C++ code defines in a namespace or a class."""
    code = re.sub(r"(?<=\d)'(?=\d)", "", text)  # digit separators
    code = re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", lambda m: "\n" * m.group().count("\n"), code_of(code), flags=re.M)
    scopes, start, inside = [], 0, 0  # of namespaces and classes; inside: braces of the function or initializer
    first = None
    for match in re.finditer(r"[{};]", code):
        end = match.start()
        if inside:
            inside += {"{": 1, "}": -1, ";": 0}[match.group()]
            if inside == 0:
                if first is not None:
                    yield first, code.count("\n", 0, end) + 2 - first
                start = end + 1
            continue
        head = code[start:end]
        if match.group() == "{":
            if re.search(r"\b(namespace|class|struct|union|enum|extern)\b(?![^<]*>)[^()=]*$", head):
                scopes.append(head)
            else:
                signature = re.sub(NO_SIGNATURE, "", without_parentheses(head))
                is_function = "(" in signature and "=" not in signature
                first = code.count("\n", 0, start + len(head) - len(head.lstrip())) + 1 if is_function else None
                inside = 1
        elif match.group() == "}" and scopes:
            scopes.pop()
        start = end + 1


def check_functions(root):
    for path in sources(root, "lrqat"):
        for first, lines in functions(path.read_text()):
            if lines > MAX_FUNCTION_LINES:
                yield f"{path.relative_to(root)}:{first}: a function of {lines} lines, at most {MAX_FUNCTION_LINES}"


CHECKS = (check_levels, check_libraries, check_quiet, check_names, check_tests, check_length, check_functions)

# Files that break one rule each, and those that look as if they did.
BROKEN = {
    check_levels: {
        "lrqat/quant/up.h": '#include "lrqat/nn/linear.h"\n',
        "lrqat/eval/side.cpp": '#include "lrqat/train/trainer.h"\n',
        "lrqat/text/side.h": ' #  include "lrqat/formats/gguf.h"\n',
        "lrqat/kernels/torch.cpp": "#include <ATen/ATen.h>\n",
        "lrqat/unknown/file.h": "\n",
        "lrqat/above.cpp": "\n",
    },
    check_libraries: {"lrqat/CMakeLists.txt": "lrqat_library(quant LEVEL 3 TORCH DEPENDS kernels nn)\n"},
    check_quiet: {
        "lrqat/base/a.cpp": "void f() { std::cout << 1; }\n",
        "lrqat/model/b.cpp": 'void f() { printf("x"); }\n',
        "lrqat/nn/c.cpp": "void f() { std::exit(1); }\n",
        "lrqat/text/d.h": "inline void f() { fprintf(stderr, \"x\"); }\n",
    },
    check_names: {
        "lrqat/quant/e.cpp": 'void f() { fail("bits must be 4, use --bits 4"); }\n',
        "lrqat/train/f.cpp": 'void f() { fail("a", "--rank ", rank); }  // fine\n',
    },
    check_tests: {
        "tests/forgotten/x_test.cpp": "TEST(A, B) {}\n",
        "tests/quant/y_test.py": "pass\n",
        "tests/quant/wrong_name.cpp": "TEST(A, B) {}\n",
    },
    check_length: {"lrqat/nn/long.cpp": "\n" * 351, "tools/long.py": "\n" * 601},
    check_functions: {
        "lrqat/nn/plain.cpp": "namespace a {\nint f(int x = 3) {\n" + "  { g(\"}\"); }\n" * 59 + "}\n}\n",
        "lrqat/nn/member.h": "struct A {\n  int x_{3};\n  A(int x)\n      : x_(x) {\n" + "    g();\n" * 58 + "  }\n};\n",
        "lrqat/nn/operator.cpp": "bool operator==(A a, B b) {\n" + "  g('}');\n" * 59 + "}\n",
        "lrqat/nn/template.h": "template <class T, typename = int>\nint f(T x) {\n" + "  g();\n" * 58 + "}\n",
    },
}
SOUND = {
    "lrqat/CMakeLists.txt": "lrqat_library(base LEVEL 0)\nlrqat_library(train LEVEL 7 TORCH DEPENDS model text)\n",
    "lrqat/cli/main.cpp": '#include "lrqat/cli/run.h"\n',
    "lrqat/cli/a.cpp": "#include <iostream>\nvoid f() { std::cout << 1; std::exit(2); }\n",
    "lrqat/cli/g.cpp": 'void f() { fail("--bits"); }\n',
    "lrqat/model/h.cpp": 'void f() { fail("`bits`: see `lrqat plan --bits 4`", "a -- b", "---"); }  // "--bits"\n',
    "lrqat/train/b.cpp": '#include "lrqat/start/start.h"\n#include "lrqat/base/error.h"\n#include <ATen/ATen.h>\n'
                         'void f() { std::snprintf(name, 3, "printf("); }  // std::cout\n/* exit(1) */\n',
    "lrqat/base/c.cpp": "void f() { parser.exit(1); on_exit(2); int printf_count = 0; }\n",
    "tests/CMakeLists.txt": "lrqat_test(base LABEL formats)\nforeach(folder quant nn)  # x\nforeach(label levels)\n",
    "lrqat/nn/long.cpp": "int f() {\n" + "  g();\n" * 58 + "}\n" + "void g() { if (1'0 == 2'0) {} }\n" * 100,
    "lrqat/nn/data.cpp": "namespace a {\n#define F(x) { \\\n  x\nconst int rows[] = {\n" + "  f(1),\n" * 100 + "};\n}\n",
    "tests/base/x_test.cpp": "TEST(A, B) {}\n" + "\n" * 599,
    "tests/nn/y_test.cpp": "TEST(A, B) {}\n",
    "tests/nn/helper.h": "\n",
    "tests/levels/z_test.py": "pass\n",
}


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def negative_controls():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "sound"
        write(root, SOUND)
        for check in CHECKS:
            for problem in check(root):
                yield f"{check.__name__} objects to a sound tree: {problem}"
        for check, files in BROKEN.items():
            root = Path(folder) / check.__name__
            write(root, {**SOUND, **files})
            problems = list(check(root))
            for name in files:
                if not any(name in problem for problem in problems):
                    yield f"{check.__name__} does not see what is wrong with {name}"


def main():
    problems = list(negative_controls())
    for check in CHECKS:
        found = list(check(ROOT))
        print(f"{check.__name__}: {len(found)} problems")
        problems += found
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
