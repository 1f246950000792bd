"""Tokenizers as people have them: without tokenizer.json, with tokens in files beside, inside a GGUF file; and data files by
any name. On the tiny model, so that also its GGUF export must hold the tokens."""

import json
import os
import subprocess

from tests.support import LRQAT, byte_tokenizer, lrqat, main, tiny_model

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXT = "<|im_start|>user 12 the thing<|im_end|>"


def ids(folder, text=TEXT, flag="--tokenizer"):
    return json.loads(lrqat("tokenize", flag, folder, "--json", stdin=json.dumps(text) + "\n")[0])


def slow_files(folder, tokenizer_class):
    """vocab.json and merges.txt of 253 pieces; three special tokens in the configuration."""
    vocab = {piece: i for piece, i in byte_tokenizer()["model"]["vocab"].items() if i < 252}
    vocab["th"] = 252
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\n")
    tokens = {content: 253 + i for i, content in enumerate(SPECIALS)}
    (folder / "added_tokens.json").write_text(json.dumps(tokens))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": tokenizer_class, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None,
        "added_tokens_decoder": {str(i): {"content": content, "special": True, "normalized": False}
                                 for content, i in tokens.items()}}))
    piece = lambda text: [vocab[c] for c in text.replace(" ", "\u0120")]
    return [254, *piece("user 12 "), vocab["th"], *piece("e "), vocab["th"], *piece("ing"), 255]


def without_tokenizer_json(folder):
    model = tiny_model(folder)
    (model / "tokenizer.json").unlink()
    expected = slow_files(model, "Qwen2Tokenizer")
    assert ids(model) == expected, (ids(model), expected)
    lrqat("train", "--model", model, "--data", text_with_tokens(folder), "--method", "rtn", "--steps", 0, "--granularity",
          "group:32", "--out", folder / "run")
    lrqat("convert", "--run", folder / "run", "--out", folder / "converted")
    lrqat("export", "--model", folder / "converted", "--format", "gguf", "--out", folder / "out.gguf")
    assert b"[PAD2" not in (folder / "out.gguf").read_bytes(), "tokens are missing in the GGUF file"
    for flag in ("--model", "--tokenizer"):  # both take a GGUF file
        assert ids(folder / "out.gguf", flag=flag) == expected


def text_with_tokens(folder):
    path = folder / "words.txt"
    path.write_text("the thing and the other thing\n" * 40)
    return path


def unknown_classes_are_named(folder):
    slow_files(folder, "MartianTokenizer")
    _, stderr = lrqat("tokenize", "--tokenizer", folder, stdin="", expect=1)
    assert "MartianTokenizer" in stderr and "Qwen2Tokenizer" in stderr and "tokenizer.json" in stderr, stderr


def a_family_alone_refuses_nothing(folder):
    """A Llama with vocab.json and merges.txt, as SmolLM is, and no word on the class: GPT-2's."""
    model = tiny_model(folder)
    (model / "tokenizer.json").unlink()
    expected = slow_files(model, "GPT2Tokenizer")
    (model / "tokenizer_config.json").unlink()
    assert ids(model) == expected, (ids(model), expected)


def tokens_beside_tokenizer_json(folder):
    model = tiny_model(folder)
    (model / "tokenizer_config.json").write_text(json.dumps({
        "eos_token": "<|end|>", "pad_token": "[PAD]",
        "added_tokens_decoder": {"256": {"content": "<|user|>", "special": True}, "257": {"content": "<|end|>",
                                                                                        "special": True}}}))
    th = byte_tokenizer()["model"]["vocab"]["th"]
    assert ids(model, "<|user|>th<|end|>[PAD]") == [256, th, 257, 258]


def files_of_any_name(folder):
    model = tiny_model(folder)
    rows = [{"instruction": f"Name the thing {i}.", "input": "", "output": f"The thing is {i}."} for i in range(20)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    forms = {"rows.jsonl": lines, "rows.JSONL": lines, "rows.ndjson": lines, "rows.json": lines,
             "array.json": json.dumps(rows, indent=1)}
    found = set()
    for name, text in forms.items():
        (folder / name).write_text(text)
        document = lrqat("perplexity", "--model", model, "--data", folder / name, "--context", 64, "--json")[0]
        found.add((json.loads(document)["nll"], json.loads(document)["tokens"]))
    assert len(found) == 1, found
    (folder / "rows.parquet").write_bytes(b"PAR1" + bytes(range(256)) + b"PAR1")
    _, stderr = lrqat("perplexity", "--model", model, "--data", folder / "rows.parquet", expect=1)
    assert "Parquet" in stderr and "read_parquet" in stderr and "not UTF-8" not in stderr, stderr


def decode_takes_ids_and_nothing_else(folder):
    model = tiny_model(folder)
    for text in (TEXT, "", "a"):
        assert json.loads(lrqat("tokenize", "--model", model, "--decode", "--json", stdin=json.dumps(ids(model, text)) + "\n")[0]) == text
    plain = [f"1 {word}" for word in ("-1", "256", "99999999999", "1.5", "0x10", "4294967360", "9" * 309, "x")]
    listed = [f"[1, {value}]" for value in ("-1", "256", "99999999999", "1.5", "4294967360", "1e30", '"1"', "null", "[1]")]
    for lines, flags in ((plain, []), (listed, ["--json"])):
        for line in lines:
            stdout, stderr = lrqat("tokenize", "--model", model, "--decode", *flags, stdin=line + "\n", expect=1)
            assert "no token id" in stderr and "0 to 255" in stderr and "line 1" in stderr and not stdout, (line, stderr)
            assert len(stderr) < 300, stderr
    descriptor = os.open(folder, os.O_RDONLY)  # cannot be read as a text
    result = subprocess.run([LRQAT, "tokenize", "--model", model], stdin=descriptor, capture_output=True, text=True)
    os.close(descriptor)
    assert result.returncode == 1 and "standard input" in result.stderr, result


def a_run_has_its_models_tokenizer(folder):
    model = tiny_model(folder)
    lrqat("train", "--model", model, "--method", "rtn", "--out", folder / "run")
    assert ids(folder / "run", flag="--model") == ids(model, flag="--model")


if __name__ == "__main__":
    main([decode_takes_ids_and_nothing_else, a_run_has_its_models_tokenizer, without_tokenizer_json, unknown_classes_are_named, a_family_alone_refuses_nothing, tokens_beside_tokenizer_json,
          files_of_any_name])
