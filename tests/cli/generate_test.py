"""lrqat generate on the tiny model: the document of --json, seeds, end of text, refusals."""

import json

from tests.support import lrqat, lrqat_json, main, tiny_model

PROMPT = "The capital"


def arguments(model, *more):
    return ["generate", "--model", model, "--prompt", PROMPT, "--max-tokens", 20, *more]


def json_document(folder):
    model = tiny_model(folder)
    found = lrqat_json(*arguments(model))
    assert {"prompt", "text", "tokens", "tokens_per_second", "seconds", "peak_memory_bytes"} <= set(found), found
    assert found["prompt"] == PROMPT and 1 <= len(found["tokens"]) <= 20
    assert all(0 <= token < 256 for token in found["tokens"])
    ids = "\n".join([json.dumps(found["tokens"])]) + "\n"
    decoded, _ = lrqat("tokenize", "--model", model, "--decode", "--no-special", "--json", stdin=ids)
    assert json.loads(decoded) == found["text"], (decoded, found["text"])
    streamed, _ = lrqat(*arguments(model))
    assert streamed == found["text"] + "\n"


def seeds_decide_samples(folder):
    model = tiny_model(folder)
    sample = lambda *more: lrqat_json(*arguments(model, "--temperature", 1, *more))["tokens"]
    assert sample("--seed", 1) == sample("--seed", 1)
    assert sample("--seed", 1) != sample("--seed", 2)
    greedy = lrqat_json(*arguments(model))["tokens"]
    assert sample("--top-p", 1e-9) == greedy  # only the most likely token is left
    assert sample("--seed", 1) != greedy


def stops_at_end_of_text(folder):
    model = tiny_model(folder)
    free = lrqat_json(*arguments(model))["tokens"]
    config = json.loads((model / "config.json").read_text())
    config["eos_token_id"] = free[2]
    (model / "config.json").write_text(json.dumps(config))
    stopped = lrqat_json(*arguments(model))["tokens"]
    assert stopped == free[:free.index(free[2]) + 1], (free, stopped)


def stops_at_tokens_of_generation_config(folder):
    """Second end-of-text tokens of chat models stand only there."""
    model = tiny_model(folder)
    free = lrqat_json(*arguments(model))["tokens"]
    for stops in (free[2], [7, free[2]]):
        (model / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}))
        stopped = lrqat_json(*arguments(model))["tokens"]
        assert stopped == free[:free.index(free[2]) + 1], (free, stopped)


def says_why_there_is_no_text(folder):
    """The first token ends the text: no empty line with exit code 0."""
    model = tiny_model(folder)
    free = lrqat_json(*arguments(model))["tokens"]
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    piece = next(piece for piece, i in tokenizer["model"]["vocab"].items() if i == free[0])
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [free[0]]}))
    (model / "tokenizer_config.json").write_text(json.dumps({"eos_token": piece}))
    stdout, stderr = lrqat(*arguments(model), expect=1)
    assert stdout == "" and f"first token is token {free[0]}" in stderr and "not answered" in stderr, (stdout, stderr)


def notes_a_raw_prompt_to_a_chat_model(folder):
    model = tiny_model(folder)
    _, stderr = lrqat(*arguments(model))
    assert "chat" not in stderr, stderr
    token = {"content": "<|user|>", "special": True}
    (model / "tokenizer_config.json").write_text(json.dumps({
        "chat_template": "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}", "added_tokens_decoder": {"255": token}}))
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"].pop("th")  # token 255 is free for it
    tokenizer["model"]["merges"] = []
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    _, stderr = lrqat(*arguments(model))
    assert "chat model" in stderr and "<|user|>" in stderr and "not answered" in stderr, stderr
    _, stderr = lrqat("generate", "--model", model, "--prompt", "<|user|>The capital", "--max-tokens", 4)
    assert "chat model" not in stderr, stderr


def refuses(folder):
    model = tiny_model(folder)
    for more, code, message in [
        (["--model", folder / "none", "--prompt", "a"], 1, "none"),
        (["--model", model, "--prompt", ""], 1, "prompt"),
        (["--model", model, "--prompt", "a", "--max-tokens", 0], 2, "--max-tokens"),
        (["--model", model, "--prompt", "a", "--temperature", -1], 2, "--temperature"),
        (["--model", model, "--prompt", "a", "--top-p", 1.5], 2, "--top-p"),
        (["--model", model, "--prompt", "a", "--temperature", 1, "--top-p", 0], 1, "--top-p"),
        (["--model", model], 2, "--prompt"),
    ]:
        _, stderr = lrqat("generate", *more, expect=code)
        assert message in stderr, (more, stderr)


if __name__ == "__main__":
    main([json_document, seeds_decide_samples, stops_at_end_of_text, stops_at_tokens_of_generation_config,
          says_why_there_is_no_text, notes_a_raw_prompt_to_a_chat_model, refuses])
