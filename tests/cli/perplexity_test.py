"""lrqat perplexity and compare on the tiny model: the document of --json, the windows, what is scored, the divergence from
a reference, refusals."""

import json
import math
import shutil

from tests.support import lrqat, lrqat_json, main, text_file, tiny_model

KEYS = {"perplexity", "nll", "tokens", "answers_only", "context", "windows", "bos", "seconds", "peak_memory_bytes"}


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


def another_tokenizer_is_no_reference(folder):
    model, (text, _) = tiny_model(folder), one_token_a_byte(folder, 500)
    other = folder / "other"
    shutil.copytree(model, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["a"], vocab["e"] = vocab["e"], vocab["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    for command in (["perplexity", "--model", model, "--reference", other], ["compare", model, other]):
        _, stderr = lrqat(*command, "--data", text, "--context", 64, expect=1)
        assert "tokenizers" in stderr and str(other) in stderr and "vocabulary" in stderr, stderr


def reads_json_lines(folder):
    model = tiny_model(folder)
    (folder / "a.jsonl").write_text('{"text": "Some words."}\n{"text": "And more ones."}\n')
    (folder / "a.txt").write_text("Some words.\n\nAnd more ones.")
    nll = [lrqat_json("perplexity", "--model", model, "--data", folder / name, "--context", 24)["nll"]
           for name in ("a.jsonl", "a.txt")]
    assert nll[0] == nll[1], nll


def instructions(folder, name="alpaca.jsonl", output=lambda i: "It is " + str(i) * 9 + "."):
    """Prompts in two lengths, answers of some bytes: a byte a token, "th" is not in the answers."""
    rows = [{"instruction": f"Say {i}.", "input": "" if i % 2 else "a digit", "output": output(i)} for i in range(40)]
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path, sum(len(row["output"]) for row in rows)


def instructions_are_scored_as_in_training(folder):
    """The run's own evaluation, perplexity of the run, and both models of a comparison: answers alone, the same figure."""
    model = tiny_model(folder)
    path, answers = instructions(folder)
    run = folder / "run"
    document = lrqat_json("train", "--model", model, "--data", path, "--steps", 2, "--batch-size", 2, "--sequence-length", 96,
                          "--init", "range", "--distill-weight", 0, "--held-out", 0, "--eval-data", path, "--eval-context", 96,
                          "--eval-windows", 0, "--lr", "1e-2", "--compute-dtype", "float32", "--threads", 1, "--out", run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [line["eval/nll"] for line in lines if "eval/nll" in line][-1]
    flags = ["--data", path, "--context", 96, "--threads", 1]
    alone = lrqat_json("perplexity", "--model", run, *flags)
    assert alone["answers_only"] and alone["tokens"] == document["measured_tokens"], (alone, document)
    assert 0.9 * answers < alone["tokens"] <= answers, (alone, answers)
    assert abs(alone["nll"] - trained) < 1e-5, (alone, trained)
    beside = lrqat_json("perplexity", "--model", run, "--reference", model, *flags)
    compared = lrqat_json("compare", model, run, *flags)
    assert abs(beside["nll"] - alone["nll"]) < 1e-5 and beside["tokens"] == compared["tokens"] == alone["tokens"], compared
    assert abs(compared["perplexity"]["b"] / alone["perplexity"] - 1) < 1e-5, (compared, alone)
    assert abs(compared["kl"] - document["kl_to_float"]["trained"]) < 1e-5, (compared, document)
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": json.loads(line)["output"] * 9}) + "\n"
                                               for line in path.read_text().splitlines()))
    whole = lrqat_json("perplexity", "--model", run, "--data", folder / "text.jsonl", "--context", 96)
    assert not whole["answers_only"] and whole["tokens"] == 95 * whole["windows"], whole
    for command in (["perplexity", "--model", model], ["compare", model, model]):
        stdout, _ = lrqat(*command, *flags)
        assert f"{alone['tokens']} scored in {alone['windows']} windows of 96 (of answers" in stdout, stdout
        _, stderr = lrqat(*command, "--data", path, "--context", 96, "--max-windows", 1, "--stride-windows", 1, expect=1)
        assert "prompts" in stderr and "--context" in stderr, stderr


def windows_without_an_answer_do_not_count(folder):
    """Windows of different sizes: each token counts once, whatever windows it lies in."""
    model = tiny_model(folder)
    path, _ = instructions(folder, output=lambda i: "x" * (1 + 7 * (i % 5)))
    found = lrqat_json("compare", model, model, "--data", path, "--context", 32)
    by_tokens = lrqat_json("perplexity", "--model", model, "--data", path, "--context", 32)
    assert found["windows"] < 40 * 230 // 32 and found["tokens"] == by_tokens["tokens"] < 40 * 15, (found, by_tokens)
    assert found["kl"] == 0 and found["log_perplexity_ratio_stderr"] == 0 and found["top1_agreement"] == 1, found


def several_models_are_compared_as_each_for_itself(folder):
    model, (text, _) = tiny_model(folder), one_token_a_byte(folder, 1500)
    runs = []
    for bits in (2, 3, 8):
        runs.append(folder / f"w{bits}")
        lrqat("train", "--model", model, "--method", "rtn", "--bits", bits, "--out", runs[-1])
    flags = ["--data", text, "--context", 64, "--threads", 1]
    together = lrqat_json("compare", model, *runs, *flags)["models"]
    assert [entry["model"] for entry in together] == [str(run) for run in runs], together
    vary = ("model", "seconds", "peak_memory_bytes")
    figures = lambda document: {key: value for key, value in document.items() if key not in vary}
    for run, entry in zip(runs, together):
        alone = lrqat_json("compare", model, run, *flags)
        assert figures(alone) == figures(entry), (alone, entry)
    assert together[0]["kl"] > together[1]["kl"] > together[2]["kl"], together
    stdout, _ = lrqat("compare", model, *runs, *flags)
    assert all(str(run) in stdout for run in runs) and stdout.count("KL(A || B)") == 3, stdout
    _, stderr = lrqat("compare", model, runs[0], folder / "none", *flags, expect=1)
    assert "none" in stderr, stderr


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
          another_tokenizer_is_no_reference, reads_json_lines, instructions_are_scored_as_in_training, windows_without_an_answer_do_not_count,
          several_models_are_compared_as_each_for_itself, speaks_to_people_without_json, refuses])
