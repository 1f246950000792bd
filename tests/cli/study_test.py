"""tools/study.py on the tiny model with two steps: every method's row at two settings, resuming, the tables."""

import json
import subprocess
import sys

from tests.support import LRQAT, ROOT, byte_tokenizer, long_tiny_model, main

METHODS = 8  # at least: rounding, LR-QAT with each φ, LSQ, L4Q, PEQA, QLoRA


def study(folder, *arguments, expect=0):
    result = subprocess.run([sys.executable, "-m", "tools.study", "--out", folder / "out", "--lrqat", LRQAT, "--model",
                             folder / "tiny", "--steps", "2", "--threads", "1", *arguments],
                            cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == expect, result.stderr
    return result.stdout + result.stderr


def model_of(folder):
    model = long_tiny_model(folder)
    assert (model / "tokenizer.json").read_text() == json.dumps(byte_tokenizer())


def read(folder):
    return [json.loads(line) for line in (folder / "out" / "results.jsonl").read_text().splitlines()]


def every_method_has_its_row(folder):
    """Two bits a channel: the asymmetric grids, which take most flags."""
    model_of(folder)
    study(folder, "--rows", "w2-channel-*")
    rows = read(folder)
    assert len(rows) >= METHODS and len({row["row"] for row in rows}) == len(rows)
    for row in rows:
        assert row["steps"] == (0 if "rtn" in row["row"] or row["method"] == "gptq" else 2), row
        assert row["texts"]["novels"]["kl"] > 0 and row["costs"]["train"]["cpu_seconds"] > 0
        assert len(row["commands"]) == 4 and all(command.startswith("build/lrqat ") for command in row["commands"])
    # In two steps no weight leaves GPTQ's integers, and QLoRA's adapters round away; the others give models of their own.
    found = {row["method"]: row["texts"]["novels"]["kl"] for row in rows}
    found.pop("lr-qat-gptq", None), found.pop("qlora")
    assert len(set(found.values())) == len(found), found


def goes_on_where_it_stopped(folder):
    model_of(folder)
    results = folder / "out" / "results.jsonl"
    study(folder, "--rows", "w4-g64-rtn")
    first = results.read_text()
    said = study(folder, "--rows", "w4-g64-[rp][te]*")
    assert results.read_text().startswith(first) and "w4-g64-rtn" not in said
    assert [row["row"] for row in read(folder)] == ["w4-g64-rtn", "w4-g64-peqa"]
    results.write_text(first + results.read_text()[len(first):][:40])  # the machine was switched off
    study(folder, "--rows", "w4-g64-peqa")
    lines = results.read_text().splitlines()
    assert len(lines) == 3 and json.loads(lines[-1])["row"] == "w4-g64-peqa"
    assert study(folder, "--rows", "w4-g64-*", "--list").count("done") == 2
    assert "no row is called" in study(folder, "--rows", "nothing", expect=1)


def tables_say_what_is_missing(folder):
    from tools import study, study_report
    row = {"row": "w4-channel-rtn", "bits": 4, "granularity": "channel", "method": "rtn", "label": "rounding", "seed": 0,
           "steps": 0, "threads": 2, "train_seconds": 0.0, "train_peak_memory_bytes": 1, "commands": ["build/lrqat train"],
           "costs": {"train": {"seconds": 1.0, "cpu_seconds": 0.1}},
           "texts": {text: {"kl": 0.5, "kl_stderr": 0.01, "perplexity": {"a": 20.0, "b": 30.0}}
                     for text in ("held_out", "novels")}}
    text = study_report.tables([row], [one.name for one in study.all_rows()])
    assert "| rounding | 0.5000 ± 0.0100 | 30.00 |" in text and "- `w4-channel-`: `gptq`, `lr-qat-fixed_point8`" in text
    assert "build/lrqat train" in study_report.commands([row])
    busy = {**row, "steps": 40, "train_seconds": 500.0, "costs": {"train": {"seconds": 500.0, "cpu_seconds": 300.0}}}
    quiet = {**busy, "costs": {"train": {"seconds": 500.0, "cpu_seconds": 900.0}}}
    assert study_report.cells(busy)[5] == "–" and study_report.cells(quiet)[5] == "500"  # wall time of a busy machine


def answers_are_compared_with_floats(folder):
    from tools import study_tasks
    for name, values in (("float", [[-1, -2], [-3, -1]]), ("w4-channel-rtn", [[-1, -2], [-1, -3]])):
        (folder / f"{name}.jsonl").write_text("".join(
            json.dumps({"task": "piqa", "sample": i, "log_likelihoods": v}) + "\n" for i, v in enumerate(values)))
    task = {"piqa": {"metrics": ["acc"], "acc": 0.5, "acc_stderr": 0.5}}
    entries = [{"row": name, "tasks": task, "command": "build/lrqat evaluate"} for name in ("float", "w4-channel-rtn")]
    text = study_tasks.table(entries, {"float": "float", "w4-channel-rtn": "rounded"}, folder)
    assert "| float | 50 ± 50.0 | 100% |" in text and "| rounded | 50 ± 50.0 | 50% |" in text, text


if __name__ == "__main__":
    main([every_method_has_its_row, goes_on_where_it_stopped, tables_say_what_is_missing, answers_are_compared_with_floats])
