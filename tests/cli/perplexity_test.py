"""lrqat perplexity on the tiny model: the document of --json, the windows, the divergence from a reference, refusals."""

import json
import math

from tests.support import lrqat, lrqat_json, main, text_file, tiny_model

KEYS = {"perplexity", "nll", "tokens", "context", "windows", "bos", "seconds", "peak_memory_bytes"}


def one_token_a_byte(folder, characters):
    text = text_file(folder, characters)
    text.write_text(text.read_text().replace("th", "dh"))  # the tokenizer's only merge is "th"
    return text, len(text.read_bytes())


def counts_windows_as_defined(folder):
    model = tiny_model(folder)
    text, tokens = one_token_a_byte(folder, 3000)
    for context in (16, 100, 128):  # as many as the model has positions
        found = lrqat_json("perplexity", "--model", model, "--data", text, "--context", context)
        assert KEYS <= set(found), found
        assert found["windows"] == tokens // context and found["tokens"] == found["windows"] * (context - 1), found
        assert found["context"] == context and found["bos"] is False
        assert abs(found["perplexity"] / math.exp(found["nll"]) - 1) < 1e-12
        # Random weights of standard deviation 0.02 know nothing: about as bad as guessing among 256
        assert 150 < found["perplexity"] < 400, found
    every_third = lrqat_json("perplexity", "--model", model, "--data", text, "--context", 16, "--stride-windows", 3)
    assert every_third["windows"] == math.ceil(tokens // 16 / 3), every_third
    first = lrqat_json("perplexity", "--model", model, "--data", text, "--context", 16, "--max-windows", 2)
    assert first["windows"] == 2 and first["nll"] != every_third["nll"]


def notices_a_tokenizer_that_adds_bos(folder):
    model = tiny_model(folder)
    text, tokens = one_token_a_byte(folder, 100)
    path = model / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["added_tokens"] = [{"id": 0, "content": "Ā", "single_word": False, "lstrip": False, "rstrip": False,
                                  "normalized": False, "special": True}]
    tokenizer["post_processor"] = {"type": "TemplateProcessing", "pair": [], "special_tokens": {
        "Ā": {"id": "Ā", "ids": [0], "tokens": ["Ā"]}},
        "single": [{"SpecialToken": {"id": "Ā", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]}
    path.write_text(json.dumps(tokenizer))
    (model / "tokenizer_config.json").write_text(json.dumps({"bos_token": "Ā"}))
    found = lrqat_json("perplexity", "--model", model, "--data", text, "--context", tokens + 1)
    assert found["bos"] is True and found["tokens"] == tokens, found  # one more than the text has


def measures_the_divergence_from_a_reference(folder):
    model = tiny_model(folder)
    text, _ = one_token_a_byte(folder, 2000)
    arguments = ["perplexity", "--data", text, "--context", 64, "--reference", model]
    itself = lrqat_json(*arguments, "--model", model)
    assert abs(itself["kl_to_reference"]) < 1e-6 and itself["top1_agreement"] == 1.0, itself
    run = folder / "rounded"
    lrqat("train", "--model", model, "--data", text, "--method", "rtn", "--bits", 2, "--out", run)
    rounded = lrqat_json(*arguments, "--model", run)
    assert rounded["kl_to_reference"] > 1e-4 and rounded["top1_agreement"] < 1.0, rounded
    assert rounded["reference_perplexity"] == itself["perplexity"]


def reads_json_lines(folder):
    model = tiny_model(folder)
    (folder / "a.jsonl").write_text('{"text": "Some words."}\n{"text": "And more ones."}\n')
    (folder / "a.txt").write_text("Some words.\n\nAnd more ones.")
    nll = [lrqat_json("perplexity", "--model", model, "--data", folder / name, "--context", 24)["nll"]
           for name in ("a.jsonl", "a.txt")]
    assert nll[0] == nll[1], nll


def speaks_to_people_without_json(folder):
    text, _ = one_token_a_byte(folder, 200)
    stdout, _ = lrqat("perplexity", "--model", tiny_model(folder), "--data", text, "--context", 50)
    assert stdout.startswith("perplexity") and "{" not in stdout, stdout


def refuses(folder):
    model = tiny_model(folder)
    text, _ = one_token_a_byte(folder, 200)
    empty, latin = folder / "empty.txt", folder / "latin.txt"
    empty.write_text("")
    latin.write_bytes(b"fine\nGr\xfc\xdfe\n")
    for arguments, code, message in [
        (["--model", folder / "none", "--data", text], 1, "none"),
        (["--model", model, "--data", folder / "none.txt"], 1, "none.txt"),
        (["--model", model, "--data", empty], 1, "no text"),
        (["--model", model, "--data", latin], 1, "latin.txt:2"),
        (["--model", model, "--data", text, "--context", 5000], 2, "128 positions"),
        (["--model", model, "--data", text, "--context", 1], 2, "--context"),
        (["--model", model, "--data", text, "--stride-windows", 0], 2, "--stride-windows"),
        (["--model", model, "--data", text, "--max-windows", -1], 2, "--max-windows"),
        (["--model", model, "--data", text, "--compute-dtype", "half"], 2, "auto, float32 or bfloat16"),
        (["--model", model, "--data", text, "--bogus"], 2, "--bogus"),
        (["--model", model], 2, "--data"),
        (["--data", text], 2, "--model"),
    ]:
        stdout, stderr = lrqat("perplexity", *arguments, expect=code)
        assert message in stderr and stdout == "", (arguments, stderr)


if __name__ == "__main__":
    main([counts_windows_as_defined, notices_a_tokenizer_that_adds_bos, measures_the_divergence_from_a_reference,
          reads_json_lines, speaks_to_people_without_json, refuses])
