"""cmake --install gives a tree that another project builds against with find_package(lrqat): installs the build,
configures and builds examples/ against it, runs them, and runs the installed program."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LRQAT_BUILD", ROOT / "build"))
PREFIX = BUILD / "install-test"
EXAMPLES = PREFIX / "examples"


def run(*command, **options):
    result = subprocess.run([str(part) for part in command], text=True, capture_output=True, **options)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def install():
    shutil.rmtree(PREFIX, ignore_errors=True)
    run("cmake", "--install", BUILD, "--prefix", PREFIX)
    headers = {path.relative_to(PREFIX / "include").as_posix() for path in (PREFIX / "include").rglob("*.h")}
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lrqat").rglob("*.h") if path.parent.name != "cli"}
    assert headers == expected, f"headers that are missing or too many: {headers ^ expected}"
    assert run(PREFIX / "bin" / "lrqat", "--version").startswith("lrqat ")
    for program in (BUILD / "lrqat", PREFIX / "bin" / "lrqat"):
        paths = re.findall(r"R(?:UN)?PATH.*\[(.*)\]", run("readelf", "-d", program))
        assert paths and all(path.startswith("/") for path in paths[0].split(":")), f"{program} looks for libraries in {paths}"


def build_examples():
    """Only the installed tree is named, and the source tree is not on any include path."""
    run("cmake", "-S", ROOT / "examples", "-B", EXAMPLES, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
        f"-DCMAKE_PREFIX_PATH={PREFIX}", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
    commands = (EXAMPLES / "compile_commands.json").read_text()
    assert f"-I{ROOT} " not in commands and f"{PREFIX}/include" in commands, commands
    run("cmake", "--build", EXAMPLES, "-j", "2")


def quantize_matrix():
    lines = run(EXAMPLES / "quantize_matrix").splitlines()
    before, after = (float(line.split(": ")[1]) for line in lines[:2])
    assert after < 0.5 * before, f"training left an error of {after}, rounding {before}"
    codes = [int(code) for code in lines[2].split(":")[1].split()]
    assert len(codes) == 64 and min(codes) >= -4 and max(codes) <= 3, codes
    assert len(lines[3].split(":")[1].split()) == 2, lines[3]
    return f"error {before} -> {after}"


def byte_tokenizer():
    """A byte-level tokenizer without merges for the fixture model's vocabulary of 96: ASCII, space and line end."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    symbols = [chr(code) for code in range(33, 127)] + ["\u0120", "\u010a"]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": level, "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                      "vocab": {symbol: i for i, symbol in enumerate(symbols)}, "merges": []}}


def perplexity():
    model = PREFIX / "model"
    shutil.copytree(ROOT / "tests" / "data" / "formats" / "tiny_llama", model)
    (model / "tokenizer.json").write_text(json.dumps(byte_tokenizer()))
    text = PREFIX / "text.txt"
    text.write_text("An untrained model knows nothing about this text: a letter is as likely as another. " * 4)
    output = run(EXAMPLES / "perplexity", model, text, 64)
    value = float(output.split("perplexity ")[1])
    assert math.isfinite(value) and 96 < value < 2000, output  # random weights: worse than 96 equal chances
    missing = subprocess.run([EXAMPLES / "perplexity", PREFIX / "nowhere", text], capture_output=True, text=True)
    assert missing.returncode == 1 and "nowhere" in missing.stderr, missing
    return output.replace("\n", ", ")


def train_in_memory():
    lines = run(EXAMPLES / "train_in_memory").splitlines()
    before, after = (float(line.split(": ")[1]) for line in lines[:2])
    assert 0 < after < 0.95 * before, f"training left a KL of {after}, rounding {before}"
    assert "self_attn.q_proj: 3 bits, codes from -4 to 3, 128 scales" in lines[2], lines
    return f"KL {before} -> {after}"


def main():
    install()
    build_examples()
    print("quantize_matrix:", quantize_matrix())
    print("train_in_memory:", train_in_memory())
    print("perplexity:", perplexity())


if __name__ == "__main__":
    main()
