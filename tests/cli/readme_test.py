"""The commands of README.md, run as they stand: MODEL is the tiny Llama, text.txt and other.txt are real text."""

import os
import subprocess

from tests.support import BUILD, ROOT, main, text_file, tiny_model


def commands():
    """Every command of the README that calls the program, continuation lines joined."""
    text = (ROOT / "README.md").read_text().replace("\\\n", " ")
    lines = [line.strip().split("   #")[0] for line in text.splitlines() if line.startswith("    ")]
    return [line for line in lines if "build/lrqat" in line and not line.startswith("make")]


def readme_commands_run(folder):
    tiny_model(folder).rename(folder / "MODEL")
    text_file(folder, 60_000)
    (folder / "other.txt").write_text((ROOT / "data" / "novels.txt").read_text()[:12_000])
    (folder / "build").symlink_to(BUILD.resolve())
    (folder / "TASKS").symlink_to(ROOT / "tests" / "data" / "eval")
    found = commands()
    for word in ("quantize", "sample-text", "train", "--resume", "convert", "export", "plan", "perplexity", "compare", "evaluate", "generate", "inspect", "tokenize"):
        assert any(word in line for line in found), f"README shows no {word}"
    for line in found:
        result = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, env=os.environ)
        assert result.returncode == 0, f"{line}\n{result.stderr}"
        print(f"ran     {line}")
    assert (folder / "m.gguf").stat().st_size > 0


main([readme_commands_run])
