"""--target-bpw through the program: a width for every linear within the size that is asked for, the same every time, in files
that hold each exactly."""

from tests.support import lrqat, lrqat_json, main, run_state, text_file, tiny_model

SIZES = ["--calibration-tokens", 512, "--sequence-length", 32, "--held-out", 0, "--threads", 1]


def base(folder, *more):
    return ["--model", tiny_model(folder), "--data", text_file(folder), *SIZES, *more]


def rounding(folder, *more):
    return base(folder, "--method", "rtn", "--init", "gptq", *more)


def overrides(run):
    return next(line for line in (run / "recipe.toml").read_text().splitlines() if line.startswith("overrides"))


def widths(path):
    """Bits by linear."""
    found = lrqat_json("inspect", path)["tensors"]
    return {row["name"].removeprefix("model.").removesuffix(".weight"): row["num_bits"] for row in found if row["num_bits"]}


def converted(folder, run):
    out = folder / f"{run.name}-converted"
    return out, lrqat_json("convert", "--run", run, "--out", out)["sha256"]


def files_are_as_large_as_planned(folder):
    for target in ("gguf", "compressed-tensors"):
        plan = lrqat_json("plan", *rounding(folder, "--target-bpw", 3.5, "--for", target))
        assert 3.2 < plan["linears"]["bits_per_weight"] <= 3.5, plan["linears"]
        assert len(plan["linears"]["rows"]) > 1 and plan["setting"].startswith("W3."), plan
        run = folder / target
        _, said = lrqat("train", *rounding(folder, "--target-bpw", 3.5, "--for", target, "--out", run))
        assert f"bits a weight in the linears for {target}" in said, said
        for row in plan["linears"]["rows"]:
            assert f"{row['bits']} bits" in said, (row, said)
        model, _ = converted(folder, run)
        out = folder / (f"{target}.gguf" if target == "gguf" else f"{target}-out")
        rest = ["--rest-type", "keep"] if target == "gguf" else []
        report = lrqat_json("export", "--model", model, "--format", target, *rest, "--out", out)
        if target == "gguf":
            assert report["bit_exact_tensors"] == report["tensors"], report
            rows = lrqat_json("inspect", out)["tensors"]
            assert sum(row["bytes"] for row in rows if row["num_bits"]) == plan["linears"]["bytes"], rows
        assert set(widths(model).values()) == {row["bits"] for row in plan["linears"]["rows"]}, widths(model)


def choosing_is_done_once(folder):
    first, again, third = folder / "first", folder / "again", folder / "third"
    arguments = rounding(folder, "--target-bpw", 4)
    lrqat("train", *arguments, "--out", first)
    lrqat("train", *arguments, "--out", again)
    assert overrides(first) == overrides(again)
    # From the saved recipe nothing is left to measure.
    _, said = lrqat("train", "--config", first / "recipe.toml", "--threads", 1, "--out", third)
    assert overrides(third) == overrides(first) and "sensitivity" not in said, said
    assert converted(folder, first)[1] == converted(folder, again)[1] == converted(folder, third)[1]
    smaller = folder / "smaller"
    lrqat("train", *rounding(folder, "--target-bpw", 2.5), "--out", smaller)
    assert overrides(smaller) != overrides(first), "negative control"


def trained_runs_resume(folder):
    arguments = base(folder, "--target-bpw", 3.5, "--rank", 4, "--batch-size", 2, "--distill-weight", 1, "--init", "range")
    straight, halves = folder / "straight", folder / "halves"
    lrqat("train", *arguments, "--steps", 6, "--save-every", 3, "--out", straight)
    assert converted(folder, straight)[1]
    lrqat("train", *arguments, "--steps", 6, "--save-every", 3, "--out", halves)
    _, said = lrqat("train", "--resume", "--out", halves, "--threads", 1)
    assert "sensitivity" not in said and run_state(straight) == run_state(halves)


def what_cannot_be_is_refused(folder):
    model, text = tiny_model(folder), text_file(folder)
    run = ["--model", model, "--out", folder / "x"]
    for flags, words in ((["--data", text, "--target-bpw", 2], "--target-bpw 2: the linears of this model take 2.25"),
                         (["--data", text, "--target-bpw", 4, "--for", "awq"], "bits a weight or more for awq"),
                         (["--data", text, "--target-bpw", -1], "--target-bpw"),
                         (["--data", text, "--target-bpw", 4, "--method", "lora"], "--target-bpw"),
                         (["--target-bpw", 4, "--method", "rtn"], "--data")):
        _, stderr = lrqat("train", *run, *flags, expect=2)
        assert words in stderr, (flags, stderr)
        assert not (folder / "x").exists()
    _, stderr = lrqat("plan", "--model", model, "--target-bpw", 4, expect=2)
    assert "--data" in stderr, stderr


main([files_are_as_large_as_planned, choosing_is_done_once, trained_runs_resume, what_cannot_be_is_refused])
