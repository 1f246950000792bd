"""lrqat sample-text on the tiny model: what --data reads, seeds, interruptions, refusals."""

import json
import signal
import subprocess
import time

from tests.support import LRQAT, lrqat, lrqat_json, main, tiny_model


def arguments(model, out, *more):
    return ["sample-text", "--model", model, "--out", out, "--tokens", 1500, "--sequence-length", 60, "--threads", 1, *more]


def documents(path):
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def tokens_of(text):
    return len(text.encode()) - text.encode().count(b"th")  # support.byte_tokenizer


def rows_are_training_text(folder):
    model, out = tiny_model(folder), folder / "own.jsonl"
    found = lrqat_json(*arguments(model, out))
    texts = documents(out)
    assert found["documents"] == len(texts) == len(set(texts)), found
    assert found["tokens"] == sum(map(tokens_of, texts)) >= 1500, found
    assert found["sampled_tokens"] > 0 and found["tokens_per_second"] > 0 and found["seconds"] > 0, found
    assert {"empty", "repetitions", "duplicates", "peak_memory_bytes"} <= set(found), found
    assert all(len(text) <= 60 for text in texts)
    settings = json.loads(out.read_text().splitlines()[0])["lrqat_sample_text"]
    assert settings["seed"] == 0 and settings["sequence_length"] == 60, settings
    assert not (folder / "own.jsonl.partial").exists()
    lrqat("train", "--model", model, "--data", out, "--out", folder / "run", "--for", "compressed-tensors", "--granularity",
          "channel", "--steps", 1, "--batch-size", 1, "--sequence-length", 32)


def seeds_decide(folder):
    model = tiny_model(folder)
    texts = {}
    for name, more in {"a": (), "b": (), "seed": ("--seed", 1), "batch": ("--batch-size", 5)}.items():
        lrqat(*arguments(model, folder / f"{name}.jsonl", *more))
        texts[name] = documents(folder / f"{name}.jsonl")
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()
    assert not set(texts["a"]) & set(texts["seed"])
    # Another batch size is another order of additions: a document differs only where that decides a token.
    assert len(set(texts["a"]) & set(texts["batch"])) >= 0.8 * len(texts["a"]), texts


def interrupted_commands_go_on(folder):
    model = tiny_model(folder)
    lrqat(*arguments(model, folder / "whole.jsonl", "--batch-size", 2))
    out, partial = folder / "own.jsonl", folder / "own.jsonl.partial"
    process = subprocess.Popen([str(a) for a in [LRQAT, *arguments(model, out, "--batch-size", 2)]], stderr=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if partial.exists() and partial.read_text().count("\n") >= 3:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() != 0 and not out.exists(), "it ended before it was killed"
    with partial.open("a") as file:
        file.write('{"documents": ["cut o')
    kept = partial.read_text().count("\n")
    _, message = lrqat(*arguments(model, out, "--batch-size", 2, "--temperature", 0.5), expect=1)
    assert "temperature" in message and str(partial) in message, message
    assert partial.read_text().count("\n") == kept
    _, message = lrqat(*arguments(model, out, "--batch-size", 2))
    assert "going on" in message, message
    assert out.read_bytes() == (folder / "whole.jsonl").read_bytes()
    assert not partial.exists()


def what_is_there_stays(folder):
    model, out = tiny_model(folder), folder / "own.jsonl"
    lrqat(*arguments(model, out))
    first = out.read_bytes()
    _, message = lrqat(*arguments(model, out, "--seed", 1), expect=1)
    assert "exists" in message and out.read_bytes() == first, message
    (folder / "own.jsonl.partial").write_text("of something else\n")
    lrqat(*arguments(model, out, "--seed", 1, "--force"))
    assert out.read_bytes() != first
    out.write_text('{"text": "not sampled"}\n')
    _, message = lrqat(*arguments(model, out, "--force"), expect=1)
    assert "not replaced" in message and "not sampled" in out.read_text(), message


def a_model_that_repeats_itself_ends(folder):
    """Without chance all documents behind one token are the same."""
    model, out = tiny_model(folder), folder / "own.jsonl"
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    start = next(piece for piece, token in tokenizer["model"]["vocab"].items() if token == 0)
    tokenizer["added_tokens"] = [{"id": 0, "content": start, "special": True, "single_word": False, "lstrip": False,
                                  "rstrip": False, "normalized": False}]
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    (model / "tokenizer_config.json").write_text(json.dumps({"bos_token": start}))
    more = ("--first-token", "document")
    lrqat(*arguments(model, folder / "samples.jsonl", *more))
    assert len(set(documents(folder / "samples.jsonl"))) > 3
    _, message = lrqat(*arguments(model, out, *more, "--temperature", 0), expect=1)
    assert "dropped" in message and "temperature" in message, message
    assert not out.exists()


def refusals(folder):
    model, out = tiny_model(folder), folder / "own.jsonl"
    _, message = lrqat(*arguments(model, folder / "own.txt"), expect=2)
    assert ".jsonl" in message, message
    _, message = lrqat("sample-text", "--model", model, "--out", out, "--sequence-length", 100_000, expect=2)
    assert "positions" in message, message
    _, message = lrqat(*arguments(model, out, "--first-token", "document"), expect=1)  # a tokenizer without such tokens
    assert "first-token" in message, message
    assert not out.exists()


if __name__ == "__main__":
    main([rows_are_training_text, seeds_decide, interrupted_commands_go_on, what_is_there_stays, a_model_that_repeats_itself_ends,
          refusals])
