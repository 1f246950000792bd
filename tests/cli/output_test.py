"""What goes wrong outside: standard output that cannot be written, model files that become shorter, damaged JSON. Each ends
with exit code 1 and one line that says what happened."""

import json
import os
import subprocess
import time

from tests.support import LRQAT, lrqat, lrqat_json, main, text_file, tiny_model


def run(*arguments, **options):
    return subprocess.run([LRQAT, *map(str, arguments)], stderr=subprocess.PIPE, text=True, **options)


def rounded_run(folder):
    model, text, out = tiny_model(folder), text_file(folder), folder / "run"
    lrqat_json("train", "--model", model, "--data", text, "--method", "rtn", "--steps", 0, "--granularity", "channel", "--out", out)
    return model, text, out


def failures_of_standard_output(folder):
    model, text, run_folder = rounded_run(folder)
    commands = [("--help",), ("--version",), ("train", "--help"),
                ("perplexity", "--model", model, "--data", text, "--context", 64, "--max-windows", 2),
                ("compare", model, run_folder, "--data", text, "--context", 64, "--max-windows", 2),
                ("generate", "--model", model, "--prompt", "The", "--max-tokens", 4),
                ("generate", "--model", model, "--prompt", "The", "--max-tokens", 4, "--json"),
                ("inspect", model), ("inspect", model, "--json"), ("plan", "--model", model, "--data", text, "--granularity", "channel"),
                ("convert", "--run", run_folder, "--out", folder / "converted"),
                ("export", "--model", folder / "converted", "--format", "gguf", "--out", folder / "m.gguf"),
                ("train", "--model", model, "--data", text, "--method", "rtn", "--steps", 0, "--granularity", "channel", "--out",
                 folder / "other")]
    for command in commands:
        with open("/dev/full", "w") as full:
            result = run(*command, stdout=full)
        assert result.returncode == 1 and "cannot write to standard output" in result.stderr, (command, result)
        assert result.stderr.count("standard output") == 1, result.stderr
    lines = text.read_text() * 20
    with open("/dev/full", "w") as full:
        result = run("tokenize", "--model", model, stdout=full, input=lines)
    assert result.returncode == 1 and "No space left on device" in result.stderr, result
    # Closed: its number must not become that of a file that the program opens.
    closed = run("export", "--model", folder / "converted", "--format", "gguf", "--out", folder / "closed.gguf",
                 preexec_fn=lambda: os.close(1))
    assert closed.returncode == 1 and "standard output" in closed.stderr, closed
    assert (folder / "closed.gguf").read_bytes()[:4] == b"GGUF"
    lrqat_json("inspect", folder / "closed.gguf")


def a_model_that_becomes_shorter_is_named(folder):
    model, text = tiny_model(folder), text_file(folder)
    out = folder / "run"
    process = subprocess.Popen([LRQAT, "train", "--model", model, "--data", text, "--out", out, "--steps", "1000000", "--granularity",
                                "channel", "--rank", "2", "--batch-size", "1", "--sequence-length", "32"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (out / "metrics.jsonl").exists() and "loss" in (out / "metrics.jsonl").read_text():
            break
        time.sleep(0.01)
    os.truncate(model / "model.safetensors", 100)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1, (process.returncode, stderr)
    assert f"{model / 'model.safetensors'}: the file became shorter" in stderr, stderr


def deep_json_is_refused(folder):
    model, text = tiny_model(folder), text_file(folder)
    deep = "[" * 60_000 + "]" * 60_000
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    saved = {name: (model / name).read_bytes() for name in ("config.json", "tokenizer.json", "model.safetensors")}
    weights = saved["model.safetensors"]
    header = len(deep) + 8
    damaged = {
        "tokenizer.json": [deep, json.dumps(tokenizer).replace('"normalizer": null', f'"normalizer": {deep}')],
        "config.json": [deep, '{"a":' * 60_000],
        "model.safetensors.index.json": [f'{{"weight_map": {deep}}}'],
        "model.safetensors": [(header - 8).to_bytes(8, "little") + deep.encode()],
    }
    for name, contents in damaged.items():
        for content in contents:
            if name == "model.safetensors.index.json":
                (model / "model.safetensors").unlink()
            (model / name).write_bytes(content if isinstance(content, bytes) else content.encode())
            _, stderr = lrqat("perplexity", "--model", model, "--data", text, expect=1)
            assert "nested deeper than" in stderr and name in stderr, (name, stderr)
            assert len(stderr) < 1000, stderr
            (model / name).unlink()
            for original, data in saved.items():
                (model / original).write_bytes(data)
    assert (model / "model.safetensors").read_bytes() == weights
    rows = folder / "rows.jsonl"
    rows.write_text('{"text": "fine"}\n{"text": "fine", "more": ' + deep + "}\n")
    _, stderr = lrqat("train", "--model", model, "--data", rows, "--out", folder / "run", expect=1)
    assert "rows.jsonl:2" in stderr and "nested deeper than" in stderr, stderr


def errors_of_json_are_in_our_words(folder):
    model, text = tiny_model(folder), text_file(folder)
    good = (model / "config.json").read_text()
    for content, parts in (("{\n  \"a\": 1,\n  oops\n}", ["line 3, column 3", "expected a key in quotes, found 'o'"]),
                           ("", ["column 1", "the end of the text"]), (good + "}", ["expected nothing behind the value"])):
        (model / "config.json").write_text(content)
        _, stderr = lrqat("perplexity", "--model", model, "--data", text, expect=1)
        assert "json.exception" not in stderr and all(part in stderr for part in ["config.json", *parts]), stderr


def json_as_python_writes_it(folder):
    """NaN, Infinity and lone surrogates: read where nobody uses the field, named where it is used."""
    model, text = tiny_model(folder), text_file(folder)
    expected = lrqat_json("perplexity", "--model", model, "--data", text, "--context", 64, "--max-windows", 2)
    config = json.loads((model / "config.json").read_text())
    extra = {"best_metric": float("inf"), "loss": float("nan"), "low": float("-inf"), "note": "cut \ud83d"}
    (model / "config.json").write_text(json.dumps({**config, **extra}))
    found = lrqat_json("perplexity", "--model", model, "--data", text, "--context", 64, "--max-windows", 2)
    assert found["nll"] == expected["nll"], (found, expected)
    run_folder, converted = folder / "run", folder / "converted"
    lrqat_json("train", "--model", model, "--data", text, "--method", "rtn", "--steps", 0, "--granularity", "channel", "--out", run_folder)
    lrqat_json("convert", "--run", run_folder, "--out", converted)
    lrqat_json("inspect", converted)
    (model / "config.json").write_text(json.dumps({**config, "rms_norm_eps": float("nan")}))
    _, stderr = lrqat("perplexity", "--model", model, "--data", text, expect=1)
    assert "rms_norm_eps" in stderr and "NaN" in stderr, stderr
    (model / "config.json").write_text(json.dumps(config))
    rows = folder / "rows.jsonl"
    train = ("train", "--model", model, "--steps", 1, "--granularity", "channel", "--rank", 2, "--sequence-length", 16,
             "--batch-size", 1)
    words = "the text goes on and on and on so that it has enough tokens to train on. " * 40
    rows.write_text(json.dumps({"text": words, "score": float("nan"), "title": "\ud83d"}) + "\n")
    lrqat_json(*train, "--data", rows, "--out", folder / "fine")
    rows.write_text(json.dumps({"text": words + "\ud83d"}) + "\n")
    _, stderr = lrqat(*train, "--data", rows, "--out", folder / "cut", expect=1)
    assert "rows.jsonl:1" in stderr and "lone surrogate \\ud83d" in stderr, stderr


main([failures_of_standard_output, a_model_that_becomes_shorter_is_named, deep_json_is_refused, errors_of_json_are_in_our_words,
      json_as_python_writes_it])
