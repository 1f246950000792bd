"""tools/rivals on the tiny model: lrqat's own rows, resuming, and a report that holds what programs ask of it. AutoRound is run by
`make rivals` alone."""

import json
import os
import subprocess
import sys

from tests.support import LRQAT, ROOT, long_tiny_model, main


def rivals(folder, *arguments, expect=0, **environment):
    result = subprocess.run([sys.executable, "-m", "tools.rivals", "--out", folder / "out", "--lrqat", LRQAT, "--model", folder / "tiny",
                             "--threads", "1", *arguments], cwd=ROOT, capture_output=True, text=True,
                            env=os.environ | {"RIVALS_DATA": str(folder / "text.txt")} | environment)
    assert result.returncode == expect, result.stderr
    return result.stdout + result.stderr


def model_of(folder):
    long_tiny_model(folder)
    (folder / "text.txt").write_text((ROOT / "data" / "mixture.txt").read_text()[:60_000])


def rows_and_report(folder):
    model_of(folder)
    extra = folder / "extra.txt"
    extra.write_text((ROOT / "data" / "stories.txt").read_text()[:20_000])
    rivals(folder, "--rows", "w4-g32-rtn,w2-g64-gptq", RIVALS_TEXTS=str(extra))
    report = json.loads((folder / "out" / "report.json").read_text())
    assert set(report) == {"machine", "commit", "rows"} and len(report["rows"]) == 2
    for row in report["rows"]:
        assert set(row["kl"]) == set(row["perplexity"]) == {"novels", "c4", "extra"}
        assert all(mean > 0 and error > 0 for mean, error in row["kl"].values()), row
        assert row["seconds"] > 0 and row["processor_seconds"] > 0 and row["peak_memory_bytes"] > 1e7 and row["threads"] == 1
        assert row["command"].startswith("build/lrqat train"), row
    bits = {row["setting"]: row["bits_per_weight"] for row in report["rows"]}
    assert bits == {"w4-g32": 4.5, "w2-g64": round(2 + (16 + 2) / 64, 4)}, bits
    assert "W4, groups of 32" in (folder / "out" / "report.md").read_text()
    before = (folder / "out" / "results.jsonl").read_text()
    rivals(folder, "--rows", "w4-g32-rtn,w2-g64-gptq")
    assert (folder / "out" / "results.jsonl").read_text() == before, "a row that is done is not run again"


def rows_of_presets(folder):
    model_of(folder)
    listed = rivals(folder, "--list", "--seeds", "3")
    assert "missing w3-g64-lrqat-fast-seed2" in listed and "missing q4_k-llama.cpp" in listed and "missing w4a4kv4-rotated" in listed and "autoround-best" not in listed, listed
    assert "autoround-best" in rivals(folder, "--list", "--all")
    assert "no row is called nothing" in rivals(folder, "--rows", "nothing", expect=1)


main([rows_and_report, rows_of_presets])
