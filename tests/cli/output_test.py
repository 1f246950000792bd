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
    (folder / "boolq_valid.jsonl").write_text(json.dumps({"question": "is it", "passage": "No.", "answer": False}) + "\n")
    commands = [("--help",), ("--version",), ("train", "--help"),
                ("perplexity", "--model", model, "--data", text, "--context", 64, "--max-windows", 2),
                ("compare", model, run_folder, "--data", text, "--context", 64, "--max-windows", 2),
                ("generate", "--model", model, "--prompt", "The", "--max-tokens", 4),
                ("generate", "--model", model, "--prompt", "The", "--max-tokens", 4, "--json"),
                ("inspect", model), ("inspect", model, "--json"), ("inspect", "--compare", model, run_folder),
                ("evaluate", "--model", model, "--task-data", folder, "--tasks", "boolq"), ("plan", "--model", model, "--data", text, "--granularity", "channel"),
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


def a_file_that_becomes_shorter_is_named(folder):
    """The model's, and the run's own weights where they stay in their file."""
    model, text = tiny_model(folder), text_file(folder)
    for i, cut in enumerate((model / "model.safetensors", folder / "run1" / "prepared.safetensors")):
        out, kept = folder / f"run{i}", (model / "model.safetensors").read_bytes()
        process = subprocess.Popen([LRQAT, "train", "--model", model, "--data", text, "--out", out, "--steps", "1000000",
                                    "--granularity", "channel", "--rank", "2", "--batch-size", "1", "--sequence-length", "32",
                                    "--map-frozen", "true" if i else "false"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if (out / "metrics.jsonl").exists() and "loss" in (out / "metrics.jsonl").read_text():
                break
            time.sleep(0.01)
        os.truncate(cut, 100)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 1, (process.returncode, stderr)
        assert f"{cut.name}: the file became shorter" in stderr, stderr
        (model / "model.safetensors").write_bytes(kept)


DEEP = "[" * 60_000 + "]" * 60_000
DEEPER = '{"a":' * 60_000


def every_reader_of_json_is_bounded(folder):
    """A file of each kind that is read, nested too deeply: one message that names it, whatever reads it."""
    model, text, run_folder = rounded_run(folder)
    trained = folder / "trained"
    lrqat("train", "--model", model, "--data", text, "--steps", 1, "--batch-size", 1, "--sequence-length", 32, "--init", "range",
          "--distill-weight", 0, "--out", trained)
    lrqat("convert", "--run", run_folder, "--out", folder / "converted")
    inside = json.dumps(json.loads((model / "tokenizer.json").read_text())).replace('"normalizer": null', f'"normalizer": {DEEP}')
    tokenize = ("tokenize", "--tokenizer", model)
    perplexity, measure = ("perplexity", "--data", text, "--model"), ("perplexity", "--model", model, "--data")
    last = json.loads((trained / "checkpoints" / "index.json").read_text())["last"]
    readers = [
        (model / "config.json", DEEP, ("inspect", "--compare", model, model)), (model / "config.json", DEEPER, (*perplexity, model)),
        (model / "tokenizer.json", DEEP, tokenize), (model / "tokenizer.json", inside, tokenize),
        (model / "tokenizer_config.json", DEEPER, tokenize), (model / "special_tokens_map.json", DEEP, tokenize),
        (model / "added_tokens.json", DEEPER, tokenize), (model / "vocab.json", DEEP, ("tokenize", "--tokenizer", model / "vocab.json")),
        (model / "generation_config.json", DEEP, ("generate", "--prompt", "The", "--model", model)),
        (model / "quantize_config.json", DEEP, (*perplexity, model)), (model / "quant_config.json", DEEPER, (*perplexity, model)),
        (model / "model.safetensors", len(DEEP).to_bytes(8, "little") + DEEP.encode(), (*perplexity, model)),
        (folder / "converted" / "config.json", DEEPER, (*perplexity, folder / "converted")),
        (trained / "run.json", DEEP, ("convert", "--out", folder / "c", "--run", trained)),
        (trained / "checkpoints" / "index.json", DEEPER, ("convert", "--out", folder / "c", "--run", trained)),
        (trained / "checkpoints" / last / "state.json", DEEP, ("train", "--resume", "--out", trained)),
        (folder / "rows.jsonl", f'{{"text": "fine"}}\n{{"text": "fine", "more": {DEEP}}}\n', (*measure, folder / "rows.jsonl")),
        (folder / "rows.json", f'[{{"text": "fine"}}, {{"text": "fine", "more": {DEEP}}}]', (*measure, folder / "rows.json")),
        (folder / "one.json", f'{{\n"rows": {DEEP}}}', (*measure, folder / "one.json")),
        (folder / "task.json", DEEP, ("evaluate", "--model", model, "--task-data", folder, "--tasks", folder / "task.json")),
        (folder / "boolq_valid.jsonl", f'{{"question": {DEEP}}}', ("evaluate", "--model", model, "--task-data", folder, "--tasks", "boolq")),
    ]
    (model / "merges.txt").write_text("#version: 0.2\nt h\n")
    for path, content, command in readers:
        original = path.read_bytes() if path.exists() else None
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        result = run(*command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        assert result.returncode == 1, (path.name, result.returncode, result.stderr[:300])
        assert path.name in result.stderr and "nested deeper than" in result.stderr, (path.name, result.stderr)
        assert len(result.stderr) < 1000, result.stderr
        path.write_bytes(original) if original is not None else path.unlink()
    (model / "model.safetensors.index.json").write_text(f'{{"weight_map": {{"lm_head.weight": {DEEP}}}}}')
    assert "nested deeper than" in lrqat(*perplexity, model, expect=1)[1]
    (model / "model.safetensors.index.json").unlink()
    for flags in ([], ["--decode"]):
        assert "nested deeper than" in lrqat("tokenize", "--tokenizer", model, "--json", *flags, stdin=DEEP + "\n", expect=1)[1]
    with open(model / "config.json", "r+b") as file:  # a hole of 2 GiB, of which nothing is read
        file.truncate(2 << 30)
    _, stderr = lrqat(*perplexity, model, expect=1)
    assert "config.json" in stderr and "JSON of 2147483648 bytes, expected at most" in stderr, stderr


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


main([failures_of_standard_output, a_file_that_becomes_shorter_is_named, every_reader_of_json_is_bounded, errors_of_json_are_in_our_words,
      json_as_python_writes_it])
