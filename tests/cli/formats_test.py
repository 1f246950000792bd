"""Exported folders and files as a user meets them: every format opens again as a model for perplexity, generate, inspect,
export and training, says what differs from another, and refuses what it does not hold."""

import shutil

from tests.support import lrqat, lrqat_json, main, text_file, tiny_model

FORMATS = ["compressed-tensors", "gptq", "gptq-v2", "awq", "hf", "gguf"]


def converted(folder, bits=4, granularity="group:32"):
    model, text = tiny_model(folder), text_file(folder)
    run, out = folder / f"run{bits}", folder / f"converted{bits}"
    lrqat_json("train", "--model", model, "--data", text, "--method", "rtn", "--steps", 0, "--bits", bits, "--granularity",
               granularity, "--out", run)
    lrqat_json("convert", "--run", run, "--out", out)
    return out, text


def export(model, name, out, *options):
    if name == "gguf":
        options = ("--rest-type", "keep", *options)
    return lrqat_json("export", "--model", model, "--format", name, "--out", out, *options)


def every_format_is_a_model(folder):
    model, text = converted(folder)
    expected = lrqat_json("perplexity", "--model", model, "--data", text, "--context", 64, "--max-windows", 4)
    words = lrqat_json("generate", "--model", model, "--prompt", "The", "--max-tokens", 8)["tokens"]
    for name in FORMATS:
        out = folder / name
        report = export(model, name, out)
        assert report["bit_exact_tensors"] == report["tensors"] and report["format"] == name, report
        found = lrqat_json("perplexity", "--model", out, "--data", text, "--context", 64, "--max-windows", 4)
        assert abs(found["nll"] - expected["nll"]) < 1e-6, (name, found, expected)
        assert lrqat_json("generate", "--model", out, "--prompt", "The", "--max-tokens", 8)["tokens"] == words, name
        compared = lrqat_json("inspect", "--compare", model, out)
        assert compared["equal"] and not compared["differing"], (name, compared)


def inspect_shows_integers(folder):
    model, _ = converted(folder)
    ours = lrqat_json("inspect", model)
    for name in ("compressed-tensors", "gptq", "awq"):
        export(model, name, folder / name)
        found = lrqat_json("inspect", folder / name)
        assert found["kind"] == name and found["sha256"] == ours["sha256"], (name, found["sha256"])
        rows = [row for row in found["tensors"] if row["num_bits"] == 4]
        assert len(rows) == 14, len(rows)
        for row in rows:
            assert len(row["histogram"]) == 16 and sum(row["histogram"]) == row["shape"][0] * row["shape"][1], row
    assert "4-bit group:32" in lrqat("inspect", folder / "awq")[0]


def compare_says_what_differs(folder):
    four, _ = converted(folder)
    three, _ = converted(folder, 3)
    found = lrqat_json("inspect", "--compare", four, three)
    assert not found["equal"] and len(found["differing"]) == 14 and found["tensors"] == 21, found
    assert all(row["what"] == "integers" and row["elements"] > 0 for row in found["differing"]), found
    assert "14 of 21 tensors differ" in lrqat("inspect", "--compare", four, three)[0]
    assert "all 21 tensors are the same" in lrqat("inspect", "--compare", four, four)[0]


def formats_convert_into_each_other(folder):
    model, _ = converted(folder)
    at = model
    for name in ("gptq", "awq", "compressed-tensors", "gguf"):
        report = export(at, name, folder / f"chain-{name}")
        assert report["bit_exact_tensors"] == report["tensors"], report
        at = folder / f"chain-{name}"
    assert lrqat_json("inspect", "--compare", model, at)["equal"]


def refusals_name_the_formats(folder):
    model, _ = converted(folder, 3)
    _, stderr = lrqat("export", "--model", model, "--format", "awq", "--out", folder / "awq3", expect=1)
    assert "3-bit codes do not fit AWQ" in stderr and "compressed-tensors, gptq, gptq-v2, hf" in stderr, stderr
    assert not (folder / "awq3").exists()
    _, stderr = lrqat("export", "--model", model, "--format", "hf", "--dtype", "float16", "--out", folder / "hf3", expect=1)
    assert "not exact in float16" in stderr, stderr
    report = export(model, "hf", folder / "hf3", "--dtype", "float16", "--allow-inexact")
    assert 0 < report["largest_change"] < 1e-3 and any("--allow-inexact" in text for text in report["warnings"]), report


def training_goes_on_from_integers(folder):
    model, text = converted(folder)
    export(model, "gptq", folder / "gptq")
    recipe = ("--data", text, "--method", "lr-qat", "--bits", 4, "--granularity", "group:32", "--steps", 2, "--batch-size",
              1, "--sequence-length", 32, "--rank", 2, "--lr", "1e-2")
    losses = []
    for name, source in (("converted", model), ("gptq", folder / "gptq")):
        run = folder / f"again-{name}"
        losses.append(lrqat_json("train", "--model", source, "--out", run, *recipe)["loss"])
        lrqat_json("convert", "--run", run, "--out", folder / f"again-{name}-w4")
    assert losses[0] == losses[1], losses
    assert lrqat_json("inspect", "--compare", folder / "again-converted-w4", folder / "again-gptq-w4")["equal"]
    # A run notices that its model is another one.
    other, _ = converted(folder, 3)
    shutil.rmtree(model)
    shutil.move(other, model)
    _, stderr = lrqat("perplexity", "--model", folder / "again-converted", "--data", text, expect=1)
    assert "model" in stderr, stderr


main([every_format_is_a_model, inspect_shows_integers, compare_says_what_differs, formats_convert_into_each_other,
      refusals_name_the_formats, training_goes_on_from_integers])
