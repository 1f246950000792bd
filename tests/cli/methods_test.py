"""Every method as a user runs it on the tiny model: the loss falls, a killed run resumes bit for bit, what comes out is
what was trained, and what a method cannot give is refused with a message that says what to do."""

import json

from tests.support import kill_when_half_done, losses, lrqat, lrqat_json, main, run_state, text_file, tiny_model

STEPS = ["--init", "range", "--distill-weight", 0, "--steps", 24, "--batch-size", 2, "--sequence-length", 32, "--warmup", 0, "--schedule", "constant",
         "--compute-dtype", "float32", "--threads", 1]
ADAPTERS = ["--rank", 4, "--lora-alpha", 8, "--lr", "2e-2"]
# name: flags; learning rates that move something within 24 steps
RUNS = {
    "lr-qat": [*ADAPTERS, "--lora-alpha", 64],
    "lr-qat asymmetric, 2 bits, integer φ from the decomposition": [
        *ADAPTERS, "--lora-alpha", 64, "--bits", 2, "--symmetric", "false", "--phi", "integer", "--init", "svd"],
    "lr-qat faithful, groups": [*ADAPTERS, "--lora-alpha", 64, "--granularity", "group:32", "--faithful-downcast", "true"],
    "lr-qat from GPTQ, groups": [*ADAPTERS, "--lora-alpha", 64, "--granularity", "group:32", "--bits", 3, "--init", "gptq"],
    "lr-qat with norms, head and embedding": [
        *ADAPTERS, "--lora-alpha", 64, "--train-norms", "true", "--train-head", "true", "--train-embeddings", "true",
        "--float-lr", "1e-3", "--checkpointing", "block"],
    "lr-qat from AWQ": [*ADAPTERS, "--lora-alpha", 64, "--bits", 3, "--init", "awq", "--train-norms", "true"],
    "l4q": ["--method", "l4q", *ADAPTERS],
    "l4q with an offset, groups, 3 bits": [
        "--method", "l4q", *ADAPTERS, "--bits", 3, "--granularity", "group:32", "--learn-offset", "true", "--scale-lr", "1e-3"],
    "lsq": ["--method", "lsq", "--lr", "1e-3"],
    "lsq asymmetric": ["--method", "lsq", "--lr", "1e-3", "--symmetric", "false", "--bits", 2, "--range", "minmax"],
    "peqa": ["--method", "peqa", "--scale-domain", "linear", "--scale-lr", "2e-3", "--granularity", "group:16", "--bits", 3],
    "peqa from GPTQ, asymmetric": ["--method", "peqa", "--scale-domain", "linear", "--scale-lr", "2e-3", "--granularity", "group:16", "--bits", 3,
                                   "--init", "gptq", "--symmetric", "false"],
    "qlora": ["--method", "qlora", *ADAPTERS],
    "qlora from GPTQ": ["--method", "qlora", *ADAPTERS, "--init", "gptq", "--bits", 3],
    "qlora from the decomposition": ["--method", "qlora", *ADAPTERS, "--init", "svd", "--svd-steps", 2, "--bits", 2],
    "qlora asymmetric": ["--method", "qlora", *ADAPTERS, "--symmetric", "false", "--bits", 3],
}


ROUNDING = ["--init", "range", "--compute-dtype", "float32", "--threads", 1]  # what a method reads that trains nothing


def base(folder, flags):
    words = {str(flag) for flag in flags}
    calibrated = any(word.endswith(("gptq", "awq")) for word in words) and "lora" not in words
    few = ["--calibration-tokens", 2048] if calibrated and "--calibration-tokens" not in words else []
    rounding = [*ROUNDING, *(["--sequence-length", 32] if calibrated else [])]
    return ["--model", tiny_model(folder), "--data", text_file(folder), *(rounding if "rtn" in words else STEPS), *few, *flags]


def check_run(folder, name, flags):
    run, killed = folder / "run", folder / "killed"
    lrqat("train", *base(folder, flags), "--out", run)
    values = losses(run)
    assert sum(values[-6:]) < sum(values[:6]) - 0.05, (name, values)
    kill_when_half_done(["train", *base(folder, flags), "--save-every", 1, "--out", killed], killed)
    lrqat("train", "--out", killed, "--resume", "--threads", 1)
    assert run_state(killed) == run_state(run), f"{name}: a resumed run differs from a straight one"
    return run


def perplexity(folder, model):
    return lrqat_json("perplexity", "--model", model, "--data", text_file(folder), "--context", 64,
                      "--compute-dtype", "float32", "--threads", 1)["nll"]


def check_converted(folder, name, run, arguments=()):
    converted = folder / "converted"
    document = lrqat_json("convert", "--run", run, "--out", converted, *arguments)
    inspected = lrqat_json("inspect", converted)
    assert inspected["sha256"] == document["sha256"], name
    if not arguments:
        assert lrqat_json("inspect", run)["sha256"] == document["sha256"], name
        assert perplexity(folder, converted) == perplexity(folder, run), name
    return converted, document


def export(folder, converted):
    document = lrqat_json("export", "--model", converted, "--format", "gguf", "--out", folder / "m.gguf", "--rest-type", "keep")
    assert document["bit_exact_tensors"] == document["tensors"] == 21, document
    # the same integers and scales: equal up to float32 sums in another order
    assert abs(perplexity(folder, folder / "m.gguf") - perplexity(folder, converted)) < 1e-5


def make_test(name, flags):
    def test(folder):
        run = check_run(folder, name, flags)
        if "qlora" in name:
            return check_qlora(folder, name, run)
        converted, document = check_converted(folder, name, run)
        layer = document["layers"][0]
        assert layer.get("zero_point", False) == ("asymmetric" in name), layer
        assert layer.get("offset", False) == ("offset" in name), layer
        if "offset" in name or ("groups of 16" in name or "peqa" in name):
            _, stderr = lrqat("export", "--model", converted, "--format", "gguf", "--out", folder / "m.gguf", expect=1)
            assert ("float offset" if "offset" in name else "multiple of 32") in stderr, stderr
            assert "lrqat convert" in stderr and not (folder / "m.gguf").exists(), stderr
        else:
            export(folder, converted)
    test.__name__ = name
    return test


def check_qlora(folder, name, run):
    _, stderr = lrqat("convert", "--run", run, "--out", folder / "converted", expect=1)
    assert "--round-adapters" in stderr and "float" in stderr, stderr
    peft = lrqat_json("export", "--model", run, "--format", "peft", "--out", folder / "peft")
    assert peft["bit_exact_tensors"] == peft["tensors"] == 21 + 28, peft
    converted, _ = check_converted(folder, name, run, ["--round-adapters"])
    _, stderr = lrqat("export", "--model", converted, "--format", "peft", "--out", folder / "none", expect=1)
    assert "--method qlora" in stderr and not (folder / "none").exists(), stderr
    assert perplexity(folder, converted) > perplexity(folder, run), "rounding the adapters away costs something"
    export(folder, converted)


def lora_is_a_float_model(folder):
    run = check_run(folder, "lora", ["--method", "lora", *ADAPTERS])
    _, stderr = lrqat("convert", "--run", run, "--out", folder / "converted", expect=1)
    assert "LoRA trains no integers" in stderr, stderr


def gptq_is_a_baseline_and_a_start(folder):
    """The same integers whether they are the result or what training starts from, with every φ; not those of rounding."""
    def integers(name, *flags):
        lrqat("train", *base(folder, ["--bits", 3, *flags]), "--steps", 0, "--out", folder / name)
        return lrqat_json("convert", "--run", folder / name, "--out", folder / (name + "-c"))["sha256"]
    for grid in (["--granularity", "channel", "--symmetric", "false"], ["--granularity", "group:32"]):
        kind = grid[-1][:5]
        gptq = integers(f"gptq-{kind}", "--method", "rtn", "--init", "gptq", *grid)
        assert gptq == integers(f"again-{kind}", "--method", "rtn", "--init", "gptq", *grid)
        assert gptq != integers(f"rtn-{kind}", "--method", "rtn", *grid)
        assert gptq == integers(f"peqa-{kind}", "--method", "peqa", "--init", "gptq", *grid)
        assert gptq == integers(f"lsq-{kind}", "--method", "lsq", "--init", "gptq", *grid)
        for phi in ("float32", "bfloat16", "fixed_point8", "int4", "integer"):
            assert gptq == integers(f"{phi}-{kind}", "--phi", phi, "--init", "gptq", "--rank", 4, *grid), phi
        assert perplexity(folder, folder / f"gptq-{kind}") == perplexity(folder, folder / f"gptq-{kind}-c")
    assert gptq == integers("l4q", "--method", "l4q", "--init", "gptq", "--range", "lp:3.5", "--rank", 4, *grid)
    mixed = integers("mixed", "--method", "rtn", "--overrides", "*.mlp.* init=gptq", "--calibration-tokens", 64)
    assert mixed not in (integers("plain", "--method", "rtn"), integers("all", "--method", "rtn", "--init", "gptq"))


def ranges_as_starts(folder):
    """--init rtn and lp: the first model is rounding to nearest on that range."""
    def integers(name, *flags):
        lrqat("train", *base(folder, ["--bits", 3, *flags]), "--steps", 0, "--out", folder / name)
        return lrqat_json("convert", "--run", folder / name, "--out", folder / (name + "-c"))["sha256"]
    for init, flags in (("rtn", ["--range", "minmax"]), ("lp", ["--range", "lp:2.5"])):
        plain = integers(f"plain-{init}", "--method", "rtn", *flags)
        own = flags if init == "lp" else []
        assert plain == integers(f"start-{init}", *ADAPTERS, "--init", init, *own)
        assert plain == integers(f"peqa-{init}", "--method", "peqa", "--init", init, *own)
    assert integers("lp", *ADAPTERS, "--init", "lp") == integers("lp-rtn", "--method", "rtn", "--range", "lp:3.5")


def instruction_data(folder):
    """Alpaca examples train; the loss is that of the answers; a killed run sees the same data again."""
    examples = folder / "alpaca.jsonl"
    examples.write_text("".join(json.dumps({"instruction": f"Count to {n}.", "input": "", "output": " ".join(map(str, range(n)))})
                                + "\n" for n in range(3, 40)))
    flags = [*ADAPTERS, "--lora-alpha", 64, "--data", examples]
    command = ["train", "--model", tiny_model(folder), *STEPS, *flags]
    lrqat(*command, "--out", folder / "run")
    values = losses(folder / "run")
    assert sum(values[-6:]) < sum(values[:6]) - 0.05, values
    kill_when_half_done([*command, "--save-every", 1, "--out", folder / "killed"], folder / "killed")
    lrqat("train", "--out", folder / "killed", "--resume", "--threads", 1)
    assert run_state(folder / "killed") == run_state(folder / "run")


def layer_reports(folder):
    run = folder / "run"
    lrqat("train", *base(folder, [*ADAPTERS, "--lora-alpha", 64, "--eval-every", 8]), "--out", run)
    lines = [json.loads(line) for line in (run / "layers.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [8] * 14 + [16] * 14 + [24] * 14, lines
    last = lines[-1]
    assert 0 < last["update_mean"] < last["update_max"] and last["scale_mean"] > 0 and 0 <= last["clipped_fraction"] < 1, last
    assert last["update_mean"] != lines[13]["update_mean"]
    assert all(line["clipped_at_start"] == lines[i % 14]["clipped_at_start"] for i, line in enumerate(lines)), "it stays"
    assert any(line["clipped_at_start"] > 0 for line in lines), "the range leaves some weights beyond the grid"
    tensors = {row["name"]: row for row in lrqat_json("inspect", run)["tensors"]}
    assert tensors[last["layer"] + ".weight"]["training"] == last
    assert "of a step" in lrqat("inspect", run)[0] and "% at the start" in lrqat("inspect", run)[0]


def floats_train_and_travel(folder):
    """Norms, embedding and head move, at a rate of their own, and reach every file that is made of the run."""
    flags = [*ADAPTERS, "--train-norms", "true", "--train-embeddings", "true", "--float-lr", "1e-2"]
    lrqat("train", *base(folder, flags), "--out", folder / "run")
    lrqat("train", *base(folder, [*flags, "--float-lr", "0"]), "--out", folder / "still")
    names = {row["name"]: row for row in lrqat_json("inspect", folder / "run")["tensors"]}
    still = {row["name"]: row for row in lrqat_json("inspect", folder / "still")["tensors"]}
    for name in ("model.norm.weight", "model.layers.1.input_layernorm.weight", "model.embed_tokens.weight"):
        assert names[name]["sha256"] != still[name]["sha256"], name
    nll = perplexity(folder, folder / "run")
    lrqat("convert", "--run", folder / "run", "--out", folder / "converted")
    assert perplexity(folder, folder / "converted") == nll
    lrqat("export", "--model", folder / "converted", "--format", "hf", "--out", folder / "hf")
    assert abs(perplexity(folder, folder / "hf") - nll) < 1e-5
    _, stderr = lrqat("train", *base(folder, ["--method", "rtn", "--train-norms", "true"]), "--out", folder / "x", expect=2)
    assert "trains nothing" in stderr, stderr


def awq_is_a_baseline(folder):
    flags = ["--bits", 3, "--granularity", "group:32"]
    for init, more in (("range", []), ("awq", ["--calibration-tokens", 512])):
        lrqat("train", *base(folder, ["--method", "rtn", "--init", init, *flags, *more]), "--steps", 0, "--out", folder / init)
        lrqat("convert", "--run", folder / init, "--out", folder / (init + "-c"))
        assert perplexity(folder, folder / init) == perplexity(folder, folder / (init + "-c"))
    changed = [a["name"] for a, b in zip(lrqat_json("inspect", folder / "awq-c")["tensors"],
                                         lrqat_json("inspect", folder / "range-c")["tensors"]) if a["sha256"] != b["sha256"]]
    assert any("norm" in name for name in changed) and any("down_proj" in name for name in changed), changed
    mixed = ["--overrides", "*.v_proj skip", "*.0.mlp.up_proj init=range"]
    lrqat("train", *base(folder, ["--method", "rtn", "--init", "awq", *flags, *mixed]), "--steps", 0, "--out", folder / "mixed")
    assert perplexity(folder, folder / "mixed") < perplexity(folder, folder / "range") + 0.5
    _, stderr = lrqat("train", *base(folder, ["--init", "awq", "--overrides", "*.v_proj init=gptq"]), "--out", folder / "x", expect=2)
    assert "do not go together" in stderr, stderr


def overrides_per_layer(folder):
    run = folder / "run"
    flags = [*ADAPTERS, "--granularity", "channel", "--overrides", "*.down_proj bits=8 granularity=group:32", "*.layers.0.self_attn.* skip",
             "model.layers.1.self_attn.q_proj rank=2 phi=float16 bits=3"]
    lrqat("train", *base(folder, flags), "--out", run)
    converted, document = check_converted(folder, "overrides", run)
    layers = {layer["name"]: (layer["num_bits"], layer["granularity"]) for layer in document["layers"]}
    assert len(layers) == 10 and not any("layers.0.self_attn" in name for name in layers), layers
    assert layers["model.layers.1.mlp.down_proj"] == (8, "group")
    assert layers["model.layers.1.self_attn.q_proj"] == (3, "channel")
    assert layers["model.layers.0.mlp.up_proj"] == (4, "channel")
    assert "down_proj bits=8" in (run / "recipe.toml").read_text()
    export(folder, converted)
    rtn = folder / "rtn"
    lrqat("train", *base(folder, ["--method", "rtn", "--overrides", "*.down_proj skip"]), "--out", rtn)
    assert len(lrqat_json("convert", "--run", rtn, "--out", folder / "c")["layers"]) == 12
    for text, message in [("*.nothing bits=2", "matches no linear"), ("*.q_proj", "PATTERN key=value"),
                          ("*.q_proj bits=5", "--bits 5"), ("*.q_proj lr=1", "not a field of a single layer"),
                          ("*.q_proj bits=2 skip", "PATTERN skip")]:
        _, stderr = lrqat("train", *base(folder, ["--overrides", text]), "--out", folder / "x", expect=2)
        assert message in stderr, (text, stderr)
    assert not (folder / "x").exists()


def methods_have_their_own_defaults(folder):
    lrqat("train", *base(folder, ["--method", "l4q", "--rank", 2]), "--steps", 1, "--out", folder / "l4q")
    recipe = (folder / "l4q" / "recipe.toml").read_text()
    for line in ("lr = 0.002", "scale-lr = 1e-04", "rank = 2", 'lora-alpha = "auto"', "beta2 = 0.999"):
        assert line in recipe, (line, recipe)
    for name, flags in RUNS.items():
        plan = lrqat_json("plan", *base(folder, flags))
        assert plan["peak_memory_bytes"] >= sum(plan["parts"].values()) > 0, name
        assert (plan["parts"]["weights"] > 0) == ("lsq" in name), (name, plan)
        assert (plan["parts"]["phi_0"] > 0) == ("lsq" not in name), (name, plan)


def what_does_nothing_is_refused(folder):
    """A flag that the method does not read, or that another one has to ask for: the flag, the method, who has it."""
    for flags, words in [
            (["--method", "lsq", "--phi", "int4"], ["--phi", "--method lsq", "lr-qat"]),
            (["--method", "lsq", "--rank", 8], ["--rank", "--method lsq", "lr-qat, l4q, qlora, lora"]),
            (["--method", "rtn", "--lora-alpha", 8], ["--lora-alpha", "--method rtn"]),
            (["--method", "l4q", "--faithful-downcast", "true"], ["--faithful-downcast", "--method l4q"]),
            (["--method", "peqa", "--learn-offset", "true"], ["--learn-offset", "--method peqa", "l4q"]),
            (["--gradient-scaling", "false"], ["--gradient-scaling", "l4q, lsq"]),
            (["--svd-steps", 2], ["--svd-steps", "--init svd"]),
            (["--gptq-damping", "0.1"], ["--gptq-damping", "--init gptq"]),
            (["--activation-range", "static"], ["--activation-range", "--activation-bits"]),
            (["--float-lr", "1e-3"], ["--float-lr", "--train-norms"]),
            *((["--method", "rtn", flag, value], [flag, "trains nothing"]) for flag, value in (
                ("--steps", 4), ("--schedule", "cosine"), ("--beta1", 0.5), ("--clip-norm", 1),
                ("--gradient-accumulation", 2), ("--eval-every", 2), ("--save-every", 2), ("--checkpointing", "none"))),
            (["--method", "rtn", "--batch-size", 2], ["--batch-size", "--activation-range static"]),
            *((["--method", "lora", flag, value], [flag, "--method lora"]) for flag, value in (
                ("--bits", 3), ("--granularity", "channel"), ("--symmetric", "false"), ("--for", "gptq"))),
            (["--method", "peqa", "--lr", 1e-3], ["--lr", "--method peqa"]),
            (["--method", "peqa", "--weight-decay", 0.1], ["--weight-decay", "--method peqa"]),
            (["--init", "rtn", "--range", "mse"], ["--range", "--init rtn"]),
            (["--init", "lp", "--faithful-downcast", "false"], ["--faithful-downcast", "--init rtn and lp"]),
            (["--clip-norm", 0, "--clip-together", "true"], ["--clip-together", "--clip-norm"]),
            (["--checkpointing", "none", "--memory-budget", "1GB"], ["--memory-budget", "--checkpointing auto"]),
            (["--eval-context", 64], ["--eval-context", "--eval-data"]),
            *((["--method", method, "--overrides", f"*.q_proj {field}"], ["--overrides", field.split("=")[0], f"--method {method}"])
              for method, field in (("lora", "bits=3"), ("lora", "granularity=auto"), ("lsq", "phi=int4"), ("peqa", "rank=3"),
                                    ("l4q", "svd-steps=3"), ("lr-qat", "weight-dtype=float32"))),
            (["--overrides", "*.q_proj svd-steps=3"], ["--overrides", "svd-steps", "--init svd"]),
            (["--method", "lora", "--overrides", "*.q_proj init=gptq"], ["--init gptq", "--method lora"]),
            (["--learn-scale", "false", "--scale-lr", "1e-3"], ["--scale-lr", "--learn-scale true"]),
            *((["--method", method, "--init", "svd"], ["--init svd", f"--method {method}", "lr-qat, qlora do"])
              for method in ("l4q", "lsq", "peqa", "rtn", "lora"))]:
        _, stderr = lrqat("train", *base(folder, flags), "--out", folder / "x", expect=2)
        assert all(word in stderr for word in words) and not (folder / "x").exists(), (flags, stderr)
    file = folder / "contradiction.toml"
    file.write_text('method = "lsq"\nrank = 8\n')
    _, stderr = lrqat("train", *base(folder, ["--config", file]), "--out", folder / "x", expect=2)
    assert "contradiction.toml: rank: " in stderr and "--" not in stderr, stderr  # a file has fields, not flags
    file.write_text('method = "lr-qat"\nrank = 8\nlora-alpha = 8\n')  # what another method does not take stays behind
    lrqat("train", *base(folder, ["--config", file, "--method", "lsq"]), "--steps", 1, "--out", folder / "other")


def refusals(folder):
    for flags, message in [(["--method", "l4q", "--symmetric", "false"], "--learn-offset true"),
                           (["--init", "svd", "--faithful-downcast", "true"], "not together with --init svd"),
                           (["--init", "magic"], "range, rtn, lp, svd, gptq, blockwise or awq"),
                           (["--method", "lora", "--init", "gptq"], "does not start from integers"),
                           (["--range", "l4q", "--symmetric", "false"], "is for symmetric grids"),
                           (["--method", "peqa", "--learn-scale", "false"], "--learn-scale must be true"),
                           (["--weight-dtype", "int8"], "bfloat16, float16 or float32")]:
        _, stderr = lrqat("train", *base(folder, flags), "--out", folder / "x", expect=2)
        assert message in stderr, (flags, stderr)
    assert not (folder / "x").exists()


main([*(make_test(name, flags) for name, flags in RUNS.items()), lora_is_a_float_model, gptq_is_a_baseline_and_a_start,
      awq_is_a_baseline, floats_train_and_travel, ranges_as_starts, instruction_data, layer_reports, overrides_per_layer,
      methods_have_their_own_defaults, what_does_nothing_is_refused, refusals])
