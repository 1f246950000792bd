"""What a user gets who names no recipe: scales as the target's format stores them, so that nothing is given away at equal
bytes; integers that a model has already are kept as they are."""

import tomllib

from tests.support import lrqat, lrqat_json, main, text_file, tiny_model

QUICK = ["--steps", 1, "--batch-size", 1, "--sequence-length", 32, "--threads", 1]


def recipe(run):
    return tomllib.loads((run / "recipe.toml").read_text())


def train(folder, name, *flags, model=None):
    run = folder / name
    lrqat("train", "--model", model or tiny_model(folder), "--data", text_file(folder), *QUICK, *flags, "--out", run)
    lrqat("convert", "--run", run, "--out", folder / f"{name}-c")
    return run


def granularity_is_the_targets(folder):
    """64 and 128 inputs: 128 divides those of down_proj alone."""
    for target, granularity, overrides in [
            ("gguf", "group:32", []), ("compressed-tensors", "group:64", ["model.layers.*.mlp.down_proj granularity=group:128"]),
            ("gptq", "group:64", []), ("gptq-v2", "group:64", []), ("awq", "group:64", []), ("hf", "group:32", [])]:
        run = train(folder, target, *([] if target == "gguf" else ["--for", target]))
        found = recipe(run)
        assert (found["for"], found["granularity"], found["overrides"]) == (target, granularity, overrides), found
        out = folder / f"{target}-out"
        report = lrqat_json("export", "--model", folder / f"{target}-c", "--format", target, "--out", out)
        assert report["bit_exact_tensors"] == report["tensors"] == 21, report


def said_and_refused_before_training(folder):
    base = ["train", "--model", tiny_model(folder), "--data", text_file(folder), *QUICK]
    _, stderr = lrqat(*base, "--for", "compressed-tensors", "--out", folder / "said")
    assert "128 does not divide in_features 64 of model.layers.*" in stderr and "group:64 there" in stderr, stderr
    for flags, code, words in [(["--for", "awq", "--bits", 3], 1, ["--for awq", "3-bit", "down_proj", "--overrides"]),
                               (["--for", "onnx"], 2, ["--for \"onnx\"", "compressed-tensors"]),
                               (["--for", "gptq", "--overrides", "*.down_proj bits=8"], 1, ["--for gptq", "down_proj"])]:
        _, stderr = lrqat(*base, *flags, "--out", folder / "x", expect=code)
        assert all(word in stderr for word in words) and not (folder / "x").exists(), stderr
    plan = lrqat_json("plan", *base[1:], "--bits", 2)
    assert plan["granularity"] == "group:64", plan


def integers_that_are_there_are_kept(folder):
    """Whatever granularity a quantized model has, training further without a word on it starts at its codes and scales."""
    for granularity in ("tensor", "channel", "group:16", "group:32", "group:64"):
        name = granularity.replace(":", "")
        train(folder, name, "--granularity", granularity, "--method", "rtn")
        again = train(folder, f"{name}-again", "--steps", 0, model=folder / f"{name}-c")
        assert recipe(again)["granularity"] == granularity, recipe(again)
        before, after = (lrqat_json("inspect", folder / f"{kind}-c")["sha256"] for kind in (name, f"{name}-again"))
        assert before == after, granularity
    other = train(folder, "other", "--init", "range", model=folder / "group16-c")  # control: the values alone
    assert recipe(other)["granularity"] == "group:32", recipe(other)
    train(folder, "awq", "--granularity", "group:32", "--method", "rtn")
    again = train(folder, "awq-again", "--steps", 0, "--for", "awq", model=folder / "awq-c")
    assert recipe(again)["granularity"] == "group:32", "which AWQ holds, though its own is group:64 here"


if __name__ == "__main__":
    main([granularity_is_the_targets, said_and_refused_before_training, integers_that_are_there_are_kept])
