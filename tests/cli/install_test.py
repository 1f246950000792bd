"""cmake --install gives a tree that another project builds against with find_package(lrqat): installs the build,
configures and builds examples/ against it, runs them, and runs the installed program."""

import os
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


def main():
    install()
    build_examples()
    print("quantize_matrix:", quantize_matrix())


if __name__ == "__main__":
    main()
