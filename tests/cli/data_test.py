"""Data as people have it, through the program: the same rows in other layouts and files train the same, are measured the same
and tokenize the same; what cannot be read says what to do."""

import gzip
import json
import lzma

from tests.support import losses, lrqat, lrqat_json, main, tiny_model

PAIRS = [(f"Name the thing {i}.", f"The thing number {i} is ü.") for i in range(60)]
MESSAGES = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in PAIRS]
SHAREGPT = [{"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}], "id": None} for q, a in PAIRS]
PROMPTS = [{"prompt": row["messages"][:1], "completion": row["messages"][1:]} for row in MESSAGES]
ALPACA = [{"instruction": q, "input": "", "output": a} for q, a in PAIRS]
DOLLY = [{"instruction": q, "context": None, "response": a, "category": "qa"} for q, a in PAIRS]
TEXTS = [{"text": f"User: {q}\n\nAssistant: {a}"} for q, a in PAIRS]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def training(model, data, out, *flags):
    """The losses of a short training, and what was said."""
    entries = data if isinstance(data, list) else [data]
    _, said = lrqat("train", "--model", model, "--data", *entries, "--init", "range", "--steps", 2, "--batch-size", 2,
                    "--sequence-length", 128, *flags, "--out", out)
    return losses(out), said


def examples(model, *data, flags=()):
    out, said = lrqat("tokenize", "--model", model, "--data", *data, *flags, "--json")
    return [json.loads(line) for line in out.splitlines()], said


def every_form_gives_the_same(folder):
    model = tiny_model(folder)
    chat = [write(folder, name, content) for name, content in {
        "messages.jsonl": lines(MESSAGES),
        "sharegpt.json": json.dumps(SHAREGPT, indent=1),
        "prompts.txt": gzip.compress(lines(PROMPTS).encode()) + b"\0" * 512,
        "wrapped.json": json.dumps({"version": "1", "data": MESSAGES}),
        "utf16.jsonl": lines(SHAREGPT).encode("utf-16"),
        "windows.xz": lzma.compress(lines(MESSAGES).replace("\n", "\r\n").encode()),
    }.items()]
    instructions = [write(folder, "alpaca.json", json.dumps(ALPACA)), write(folder, "dolly.jsonl", lines(DOLLY))]
    for files in (chat, instructions):
        expected, said = examples(model, files[0])
        assert len(expected) == len(PAIRS) and any(0 in row["mask"] and 1 in row["mask"] for row in expected)
        assert ("no chat template is used" in said) == (files is chat), said
        measured = lrqat_json("perplexity", "--model", model, "--data", files[0], "--context", 64)
        assert measured["answers_only"]
        trained, said = training(model, files[0], folder / f"run-{files[0].stem}")
        assert ("no chat template is used" in said) == (files is chat), said
        for file in files[1:]:
            assert examples(model, file)[0] == expected, file
            again = lrqat_json("perplexity", "--model", model, "--data", file, "--context", 64)
            assert again["perplexity"] == measured["perplexity"], file
            assert training(model, file, folder / f"run-{file.stem}")[0] == trained, file
    masked = examples(model, chat[0])[0]
    unmasked = examples(model, write(folder, "texts.jsonl", lines(TEXTS)))[0]
    assert [row["ids"] for row in masked] == [row["ids"] for row in unmasked]
    assert all(set(row["mask"]) == {1} for row in unmasked)
    text, _ = lrqat("tokenize", "--model", model, "--data", chat[0])
    assert text.startswith("User: Name the thing 0.\n\nAssistant:⟦ The thing number 0 is ü."), text[:100]


def folders_patterns_and_weights(folder):
    model = tiny_model(folder)
    a, b = write(folder, "d/a.txt", "one two three four five\n" * 40), write(folder, "d/b=2.txt.gz", gzip.compress(b"six seven\n" * 60))
    write(folder, "d/README.md", "")
    expected = examples(model, a, b)[0]
    for data in (folder / "d", folder / "d" / "*.txt*"):
        assert examples(model, data)[0] == expected
    both, said = training(model, folder / "d", folder / "run-1")
    assert "README.md" in said and both == training(model, [a, b], folder / "run-2")[0]
    runs = {name: training(model, data, folder / name, "--held-out", 0, "--steps", 4)[0]
            for name, data in {"once": [a, b], "more": [f"{a}=3", b], "named": [f"{a}=3", f"{b}=1"]}.items()}
    assert runs["more"] == runs["named"] != runs["once"]
    # What a run was trained on is known again: a file that came into the folder is another text.
    write(folder, "d/c.txt", "eight\n" * 100)
    _, said = lrqat("train", "--resume", "--out", folder / "run-1", expect=1)
    assert "the training data" in said, said
    assert lrqat_json("perplexity", "--model", model, "--data", folder / "d", "--context", 64)["tokens"] > 0
    _, said = lrqat("perplexity", "--model", model, "--data", f"{a}=2", expect=2)
    assert "no weight" in said, said


def what_cannot_be_read_says_what_to_do(folder):
    model = tiny_model(folder)
    both = lines([{**alpaca, **text} for alpaca, text in zip(ALPACA, TEXTS)])
    for name, content, expected in [
        ("rows.parquet", b"PAR1" + bytes(range(256)) + b"PAR1", "read_parquet"),
        ("cut.jsonl.gz", gzip.compress(lines(ALPACA).encode())[:-20], "the gzip file is cut off"),
        ("both.jsonl", both, "both.jsonl:1: can be read as"),
        ("two.jsonl", lines([MESSAGES[0], SHAREGPT[0]]), "line 1 is {\"messages\""),
        ("role.jsonl", lines([MESSAGES[0], {"messages": [{"role": "narrator", "content": "x"}]}]), "role.jsonl:2: message 1"),
        ("latin.txt", "fine\nGrüße\n".encode("latin-1"), "latin.txt:2: not UTF-8 text: byte 0xfc at byte 3"),
    ]:
        path = write(folder, name, content)
        for command in (("train", "--out", folder / "none"), ("perplexity",), ("tokenize",)):
            _, said = lrqat(command[0], "--model", model, "--data", path, *command[1:], expect=1)
            assert expected in said, (command, said)
    for command in (("train", "--out", folder / "none"), ("perplexity",)):
        _, said = lrqat(command[0], "--model", model, "--data", "tatsu-lab/alpaca", *command[1:], expect=1)
        assert 'load_dataset("tatsu-lab/alpaca", split="train").to_json("alpaca.jsonl")' in said, said
    path = write(folder, "both.jsonl", both)
    assert examples(model, path, flags=("--data-format", "text"))[0] == examples(model, write(folder, "t.jsonl", lines(TEXTS)))[0]
    alpaca = write(folder, "alpaca.jsonl", lines(ALPACA))
    by_name, _ = training(model, path, folder / "run-1", "--data-format", "alpaca", "--eval-data", path, "--eval-data-format", "text",
                          "--eval-context", 32)
    assert by_name == training(model, alpaca, folder / "run-2")[0]
    _, said = lrqat("train", "--model", model, "--data", path, "--data-format", "chatml", "--out", folder / "none", expect=2)
    assert "--data-format" in said and "conversations" in said, said
    _, said = lrqat("train", "--model", model, "--data", alpaca, "--eval-data", path, "--out", folder / "none", expect=1)
    assert "--eval-data-format" in said, said


if __name__ == "__main__":
    main([every_form_gives_the_same, folders_patterns_and_weights, what_cannot_be_read_says_what_to_do])
