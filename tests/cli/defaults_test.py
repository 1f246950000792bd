"""What a user gets who names no recipe: scales as the target's format stores them, so that nothing is given away at equal
bytes; integers that a model has already are kept as they are."""

import json
import tomllib

from tests.support import lrqat, lrqat_json, main, text_file, tiny_model

QUICK = ["--steps", 1, "--batch-size", 1, "--sequence-length", 32, "--threads", 1]


def recipe(run):
    return tomllib.loads((run / "recipe.toml").read_text())


def train(folder, name, *flags, model=None):
    run = folder / name
    quick = ["--threads", 1] if "rtn" in flags else QUICK
    lrqat("train", "--model", model or tiny_model(folder), "--data", text_file(folder), *quick, *flags, "--out", run)
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
        report = lrqat_json("export", "--model", folder / f"{target}-c", "--format", target, "--out", out,
                            *(["--rest-type", "keep"] if target == "gguf" else []))
        assert report["bit_exact_tensors"] == report["tensors"] == 21, report


def said_and_refused_before_training(folder):
    base = ["train", "--model", tiny_model(folder), "--data", text_file(folder), *QUICK]
    _, stderr = lrqat(*base, "--for", "compressed-tensors", "--out", folder / "said")
    assert "128 does not divide in_features 64 of model.layers.*" in stderr and "group:64 there" in stderr, stderr
    for flags, code, words in [(["--for", "awq", "--bits", 3], 1, ["--for awq", "3-bit", "down_proj", "--overrides"]),
                               (["--for", "peft"], 2, ["--for peft", "qlora and lora", "gguf"]),
                               (["--for", "onnx"], 2, ["--for \"onnx\"", "compressed-tensors"]),
                               (["--for", "gptq", "--overrides", "*.down_proj bits=8"], 1, ["--for gptq", "down_proj"])]:
        _, stderr = lrqat(*base, *flags, "--out", folder / "x", expect=code)
        assert all(word in stderr for word in words) and not (folder / "x").exists(), stderr
    config = folder / "tiny" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "partial_rotary_factor": 0.5}))
    for flags, said in (([], True), (["--for", "hf"], False)):
        _, stderr = lrqat("plan", *base[1:], *flags)
        assert ("a rotary embedding of a part of each head is not written to GGUF" in stderr) == said, stderr
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


def a_short_run_is_the_best_that_is_known(folder):
    """From GPTQ's integers, distilled, γ = 1, in windows that the model has positions for (128)."""
    model, text = tiny_model(folder), text_file(folder)
    for method, flags, found in [
            ("lr-qat", ["--rank", 4], {"init": "gptq", "distill-weight": 1, "lora-alpha": "auto", "steps": 1, "batch-size": 2,
                                       "sequence-length": 128, "eval-context": 128, "warmup": 0, "lr": 1e-3}),
            ("l4q", [], {"init": "gptq", "distill-weight": 1, "lr": 2e-3}),
            ("lsq", [], {"init": "gptq", "distill-weight": 1, "lr": 5e-4}),
            ("peqa", [], {"init": "gptq", "distill-weight": 1, "scale-domain": "log", "scale-lr": 3e-3}),
            ("lora", [], {"init": "auto", "distill-weight": 0})]:
        run = folder / method
        lrqat("train", "--model", model, "--data", text, "--method", method, *flags, "--steps", 1, "--threads", 1, "--out", run)
        resolved = recipe(run)
        assert {key: resolved[key] for key in found} == found, (method, resolved)
    rank = folder / "rank-4"
    lrqat("train", "--model", model, "--data", text, "--rank", 4, "--lora-alpha", 4, "--steps", 1, "--threads", 1, "--out", rank)
    digest = [lrqat_json("inspect", run)["sha256"] for run in (folder / "lr-qat", rank)]
    assert digest[0] == digest[1], "auto is the rank"
    plan = lrqat_json("plan", "--model", model)
    assert plan["parts"]["teacher"] > 0 and plan["prepare_seconds"] > 0, plan


def a_quantized_model_is_no_teacher_of_itself(folder):
    model, text = tiny_model(folder), text_file(folder)
    train(folder, "first", "--method", "rtn")
    _, stderr = lrqat("train", "--model", folder / "first-c", "--data", text, *QUICK, "--out", folder / "further")
    assert "distill-weight 0 (cross-entropy)" in stderr and "own integers" in stderr, stderr
    found = recipe(folder / "further")
    assert found["distill-weight"] == 0 and found["init"] == "auto" and found["granularity"] == "group:32", found
    assert recipe(train(folder, "named", "--distill-weight", "0.5", model=model))["distill-weight"] == 0.5


if __name__ == "__main__":
    main([granularity_is_the_targets, said_and_refused_before_training, integers_that_are_there_are_kept,
          a_short_run_is_the_best_that_is_known, a_quantized_model_is_no_teacher_of_itself])
