"""Quantized activations as a user has them: named settings in training, perplexity, generation, converted folders and
runs; what no export format holds is refused by name."""

import json

from tests.support import kill_when_half_done, losses, lrqat, lrqat_json, main, run_state, text_file, tiny_model

STEPS = ["--init", "range", "--distill-weight", 0, "--steps", 24, "--batch-size", 2, "--sequence-length", 32, "--warmup", 0, "--schedule", "constant",
         "--lr", "2e-2", "--compute-dtype", "float32", "--threads", 1]
ADAPTERS = ["--rank", 4, "--lora-alpha", 64]
W4A8KV8 = ["--activation-bits", 8, "--kv-bits", 8]
W4A8KV4 = ["--activation-bits", 8, "--kv-bits", 4]
W4A4KV4 = ["--activation-bits", 4, "--kv-bits", 4]
STATIC = ["--activation-range", "static"]


ROUNDING = ["--init", "range", "--compute-dtype", "float32", "--threads", 1]  # what a method reads that trains nothing


def base(folder, flags):
    if "rtn" in flags:
        text = ["--sequence-length", 32] if {"gptq", "static"} & {str(flag) for flag in flags} else []
        batch = ["--batch-size", 2] if "static" in flags else []
        return ["--model", tiny_model(folder), "--data", text_file(folder), *ROUNDING, *text, *batch, *flags]
    adapters = [] if {"lsq", "peqa", "rtn"} & {str(flag) for flag in flags} else ADAPTERS
    steps = [flag for flag in STEPS if "peqa" not in flags or flag not in ("--lr", "2e-2")]  # it trains scales alone
    return ["--model", tiny_model(folder), "--data", text_file(folder), *steps, *adapters, *flags]


def trained(folder, name, flags):
    run = folder / name
    lrqat("train", *base(folder, flags), "--out", run)
    return run


def nll(folder, model):
    return lrqat_json("perplexity", "--model", model, "--data", text_file(folder), "--context", 64, "--threads", 1)["nll"]


def check_setting(folder, flags, activations):
    run, converted = trained(folder, "run", flags), folder / "converted"
    values = losses(run)
    assert sum(values[-6:]) < sum(values[:6]) - 0.05, values
    lrqat("convert", "--run", run, "--out", converted)
    assert nll(folder, run) == nll(folder, converted), "run and converted folder differ"
    config = json.loads((converted / "config.json").read_text())["quantization_config"]
    assert config["version"] == 2 and activations.items() <= config["activations"].items(), config["activations"]
    for path in (run, converted):
        found = lrqat_json("inspect", path)["activations"]
        assert activations.items() <= found.items(), found
    # negative control: the same integers without their activations' setting are another model
    del config["activations"]
    config["version"] = 1
    whole = json.loads((converted / "config.json").read_text())
    (converted / "config.json").write_text(json.dumps({**whole, "quantization_config": config}))
    assert nll(folder, converted) != nll(folder, run), "the setting changes nothing"
    (converted / "config.json").write_text(json.dumps(whole))
    texts = [lrqat_json("generate", "--model", path, "--prompt", "The ", "--max-tokens", 12, "--threads", 1)["tokens"]
             for path in (run, converted)]
    assert texts[0] == texts[1] and len(texts[0]) == 12, texts
    return run, converted


def w4a8kv8(folder):
    check_setting(folder, W4A8KV8, {"activation_bits": 8, "kv_bits": 8, "range": "dynamic", "score_bits": 8})


def w4a8kv4(folder):
    check_setting(folder, W4A8KV4, {"activation_bits": 8, "kv_bits": 4, "range": "dynamic"})


def w4a4kv4(folder):
    check_setting(folder, [*W4A4KV4, "--checkpointing", "block"], {"activation_bits": 4, "kv_bits": 4})


def static_ranges(folder):
    run, converted = check_setting(folder, [*W4A8KV8, *STATIC], {"activation_bits": 8, "range": "static"})
    config = json.loads((converted / "config.json").read_text())["quantization_config"]
    assert len(config["activations"]["points"]) == 16, config["activations"]  # 8 in each of 2 layers


def learned_static_ranges_resume(folder):
    flags = [*W4A8KV8, *STATIC, "--learn-activation-range", "true", "--scale-lr", "1e-3", "--save-every", 1]
    run, _ = check_setting(folder, flags, {"range": "static"})
    killed = folder / "killed"
    kill_when_half_done(["train", *base(folder, flags), "--out", killed], killed)
    lrqat("train", "--resume", "--out", killed, "--threads", 1)
    assert run_state(killed) == run_state(run), "a resumed run differs from a straight one"
    fixed = trained(folder, "fixed", [*W4A8KV8, *STATIC, "--scale-lr", "1e-3"])
    ranges = [lrqat_json("inspect", path)["activations"]["points"] for path in (run, fixed)]
    assert ranges[0] != ranges[1], "learned ranges stayed where they were"


def all_methods_take_them(folder):
    for method in ("l4q", "lsq", "peqa", "qlora", "lora"):
        run = trained(folder, method, ["--method", method, *W4A8KV4, "--steps", 2])
        assert lrqat_json("perplexity", "--model", run, "--data", text_file(folder), "--context", 64)["nll"] > 0
        assert 'activation-bits = 8' in (run / "recipe.toml").read_text(), method


def rounding_takes_them_too(folder):
    rtn, plain = trained(folder, "rtn", ["--method", "rtn", *W4A8KV4]), trained(folder, "plain", ["--method", "rtn"])
    lrqat("convert", "--run", rtn, "--out", folder / "c")
    assert nll(folder, rtn) == nll(folder, folder / "c") != nll(folder, plain)
    fixed = trained(folder, "static", ["--method", "rtn", *W4A8KV4, *STATIC])  # reads the data for its ranges
    lrqat("convert", "--run", fixed, "--out", folder / "s")
    assert nll(folder, fixed) == nll(folder, folder / "s") not in (nll(folder, rtn), nll(folder, plain))
    gptq = trained(folder, "gptq", ["--method", "rtn", "--init", "gptq", *W4A8KV4])
    assert nll(folder, gptq) not in (nll(folder, rtn), nll(folder, plain))
    model = ["--model", tiny_model(folder), "--method", "rtn", *W4A8KV4, *STATIC]
    for flags, message in [([], "--data is missing"), (["--data", text_file(folder), "--learn-activation-range", "true"],
                                                       "trains nothing")]:
        _, stderr = lrqat("train", *model, *flags, "--out", folder / "x", expect=2)
        assert message in stderr and not (folder / "x").exists(), stderr


def the_comparison_at_the_end_quantizes_all_of_them(folder):
    run = folder / "run"
    document = lrqat_json("train", *base(folder, W4A4KV4), "--steps", 2, "--eval-data", text_file(folder),
                          "--eval-windows", 2, "--eval-context", 64, "--out", run)
    rtn = trained(folder, "rtn", ["--method", "rtn", *W4A4KV4])
    measured = lrqat_json("perplexity", "--model", rtn, "--data", text_file(folder), "--context", 64, "--max-windows", 2,
                          "--threads", 1)
    assert abs(document["perplexity"]["rtn"] / measured["perplexity"] - 1) < 1e-3, (document, measured)


def evaluation_quantizes_them(folder):
    """Requests that are packed and share their beginnings give the same scores in a run and its converted folder, and other
    ones than float activations do."""
    rows = [{"goal": f"The {i} birds fly over", "sol1": "the sea", "sol2": "a mountain", "label": i % 2} for i in range(6)]
    data = folder / "data"
    data.mkdir()
    (data / "piqa_valid.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = tiny_model(folder)
    lrqat("train", "--model", model, "--method", "rtn", *W4A4KV4, "--out", folder / "run")
    lrqat("train", "--model", model, "--method", "rtn", "--out", folder / "plain")
    lrqat("convert", "--run", folder / "run", "--out", folder / "converted")
    scores = {}
    for name in ("run", "converted", "plain"):
        results = folder / f"{name}.jsonl"
        lrqat("evaluate", "--model", folder / name, "--tasks", "piqa", "--task-data", data, "--results", results,
              "--compute-dtype", "float32")
        scores[name] = [value for line in results.read_text().splitlines() for value in json.loads(line)["log_likelihoods"]]
    assert len(scores["run"]) == 12 and scores["run"] == scores["converted"], scores
    assert max(abs(a - b) for a, b in zip(scores["run"], scores["plain"])) > 1e-2, scores


def exports_refuse_them_by_name(folder):
    run = trained(folder, "run", [*W4A8KV8, "--steps", 1])
    lrqat("convert", "--run", run, "--out", folder / "converted")
    for name in ("gguf", "compressed-tensors", "gptq", "hf", "peft"):
        out = folder / f"out-{name}"
        _, stderr = lrqat("export", "--model", folder / "converted", "--format", name, "--out", out, expect=1)
        assert name in stderr and "A8KV8" in stderr and "--weights-only" in stderr and not out.exists(), stderr
    document = lrqat_json("export", "--model", folder / "converted", "--format", "gguf", "--out", folder / "m.gguf",
                          "--weights-only", "--rest-type", "keep")
    assert document["bit_exact_tensors"] == document["tensors"], document
    assert any("weights only" in warning for warning in document["warnings"]), document
    assert nll(folder, folder / "m.gguf") != nll(folder, folder / "converted")
    plain = trained(folder, "plain", ["--steps", 1])  # control: without the setting nothing is refused or warned of
    document = lrqat_json("export", "--model", plain, "--format", "gguf", "--out", folder / "p.gguf", "--rest-type", "keep")
    assert not document["warnings"], document


def refuses(folder):
    for flags, message in [(["--activation-bits", 5], "4, 8 or 16"), (["--kv-bits", 2], "--kv-bits"),
                           (["--activation-range", "token"], "dynamic or static"),
                           ([*W4A8KV8, "--learn-activation-range", "true"], "--activation-range static")]:
        _, stderr = lrqat("train", *base(folder, flags), "--out", folder / "x", expect=2)
        assert message in stderr and not (folder / "x").exists(), (flags, stderr)


if __name__ == "__main__":
    main([w4a8kv8, w4a8kv4, w4a4kv4, static_ranges, learned_static_ranges_resume, all_methods_take_them,
          rounding_takes_them_too, the_comparison_at_the_end_quantizes_all_of_them, evaluation_quantizes_them, exports_refuse_them_by_name,
          refuses])
