"""Documents name files and, after them, functions or types: each must exist, in that file. Standard library only."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("docs/method.md", "docs/architecture.md", "CONTRIBUTING.md")
PLACE = re.compile(r"^(lrqat|tests|tools|docs|examples|cmake)/[\w./-]+\.\w+$")


def problems(text, root):
    """A name in backticks belongs to the last file before it in its line, or to the one after "in"."""
    count = 0
    for number, line in enumerate(text.split("\n"), 1):
        words = re.findall(r"`([^`]+)`", line)
        line_files = [word for word in words if PLACE.match(word)]
        for i, word in enumerate(words):
            if PLACE.match(word):
                count += 1
                if not (root / word).exists():
                    yield f"line {number}: there is no {word}"
            elif line_files and re.fullmatch(r"\w+", word):
                before = [w for w in words[:i] if PLACE.match(w)]
                after = [w for w in words[i:] if PLACE.match(w)]
                candidates = before[-1:] + after[:1]
                texts = [(root / name).read_text() for name in candidates if (root / name).exists()]
                if not any(re.search(rf"\b{word}\b", t) for t in texts):
                    yield f"line {number}: {word} is not in {' or '.join(candidates)}"
    if count == 0:
        yield "no file is named"


CONTROL = """`lrqat/quant/nowhere.cpp`
`lrqat/quant/grid.h` `no_such_function`
"""


def main():
    controls = list(problems(CONTROL, ROOT))
    if len(controls) != 2:
        controls.append("negative control: a missing file and a missing function were not both seen")
        print("\n".join(controls))
        return 1
    found = [f"{name}, {problem}" for name in DOCUMENTS for problem in problems((ROOT / name).read_text(), ROOT)]
    print("\n".join(found) or "the documents name nothing that is missing")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
