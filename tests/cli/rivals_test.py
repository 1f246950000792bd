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


def earlier_run(path, method, label, figures):
    """Rows as results.jsonl has them: KL and seconds of each seed."""
    rows = [{"row": f"w3-g64-{method}-seed{seed}", "machine": "a machine", "commit": "abc", "method": method, "label": label, "setting": "w3-g64",
             "seed": seed, "threads": 2, "seconds": seconds, "processor_seconds": 2 * seconds, "peak_memory_bytes": 2**30, "bits_per_weight": 3.25,
             "bytes": 2**26, "kl": {"novels": [kl, 0.01], "c4": [2 * kl, 0.01]}, "perplexity": {"novels": 30.0, "c4": 40.0}}
            for seed, (kl, seconds) in enumerate(figures)]
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def ratios_of_runs(folder):
    """Each ratio is by AutoRound's row of the same run and seed; over seeds a mean and its error."""
    model_of(folder)
    first, second = folder / "first.jsonl", folder / "second.jsonl"
    earlier_run(first, "autoround", "AutoRound", [(0.2, 100), (0.4, 100)])
    earlier_run(first, "lrqat", "ours", [(0.1, 50), (0.24, 60)])  # 0.5, 0.6 of AutoRound's
    earlier_run(second, "autoround", "AutoRound", [(0.5, 10)])
    earlier_run(second, "lrqat", "ours", [(0.35, 7)])  # 0.7
    rivals(folder, "--rows", "w4-g32-rtn", "--with", first, second)
    report = (folder / "out" / "report.md").read_text()
    lines = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in report.splitlines() if line.startswith("| ")}
    ours = lines["ours, 3 runs"]
    assert ours[:2] == ["0.2300 ± 0.0723", "0.60 ± 0.06"] and ours[4] == "0.60 ± 0.06" and "0.60 ± 0.06" in ours[6:8], ours
    assert lines["AutoRound, 3 runs"][:2] == ["0.3667 ± 0.0882", "–"], lines
    assert len(lines["rounding to nearest"]) == len(ours) - 3, "no columns of ratios where there is no AutoRound"
    assert "- first: 4 rows, 2 threads, a machine, commit abc" in report and "- this run: 1 rows" in report, report
    rivals(folder, "--report", "--with", first)
    report = (folder / "out" / "report.md").read_text()
    assert "ours, 2 runs" in report and "rounding to nearest" in report and "- second" not in report, report


main([rows_and_report, rows_of_presets, ratios_of_runs])
