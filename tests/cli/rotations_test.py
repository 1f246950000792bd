"""Rotations as a user has them: kept by runs and converted folders, resumed, exported where a format can hold them and
refused by name where it cannot."""

import json

from tests.support import kill_when_half_done, lrqat, lrqat_json, main, run_state, text_file, tiny_model

ROUND = ["--method", "rtn", "--init", "range", "--granularity", "group:32", "--compute-dtype", "float32", "--threads", 1]
STEPS = ["--init", "range", "--steps", 24, "--batch-size", 2, "--sequence-length", 32, "--rank", 4, "--compute-dtype", "float32",
         "--threads", 1]
W4A4KV4 = ["--activation-bits", 4, "--kv-bits", 4]


def nll(folder, model):
    return lrqat_json("perplexity", "--model", model, "--data", text_file(folder), "--context", 64, "--threads", 1)["nll"]


def rounded(folder, name, *flags):
    run, converted = folder / name, folder / f"{name}-converted"
    lrqat("train", "--model", tiny_model(folder), *ROUND, *flags, "--out", run)
    lrqat("convert", "--run", run, "--out", converted)
    return run, converted


def quantization(converted):
    return json.loads((converted / "config.json").read_text())["quantization_config"]


def runs_and_converted_folders_keep_them(folder):
    run, converted = rounded(folder, "all", "--rotations", "all", "--down-activation-bits", 8, *W4A4KV4)
    config = quantization(converted)
    assert (config["version"], config["rotations"], config["activations"]["down_bits"]) == (3, "r3,r4", 8), config
    value = nll(folder, run)
    assert value == nll(folder, converted)
    plain, _ = rounded(folder, "plain", *W4A4KV4)
    assert nll(folder, plain) != value
    # negative control: the same integers without what stands in the forward pass are another model
    whole = json.loads((converted / "config.json").read_text())
    del whole["quantization_config"]["rotations"]
    (converted / "config.json").write_text(json.dumps(whole))
    assert nll(folder, converted) > value + 0.1
    whole["quantization_config"]["rotations"] = "r5"
    (converted / "config.json").write_text(json.dumps(whole))
    _, stderr = lrqat("perplexity", "--model", converted, "--data", text_file(folder), expect=1)
    assert 'rotations is "r5"' in stderr, stderr


def absorbed_ones_go_into_every_format(folder):
    run, converted = rounded(folder, "absorbed", "--rotations", "absorbed")
    assert "rotations" not in quantization(converted) and quantization(converted)["version"] == 1
    value, (unrotated, _) = nll(folder, run), rounded(folder, "plain")
    assert value == nll(folder, converted) != nll(folder, unrotated)
    for name in ("hf", "gguf", "compressed-tensors", "gptq", "awq"):
        out = folder / (name + (".gguf" if name == "gguf" else ""))
        flags = ["--rest-type", "keep"] if name == "gguf" else ["--dtype", "float32"]
        lrqat("export", "--model", converted, "--format", name, *flags, "--out", out)
        assert abs(nll(folder, out) - value) < 1e-5, name


def what_stands_in_the_forward_pass_is_refused_by_exporters(folder):
    _, converted = rounded(folder, "r4", "--rotations", "r1,r2,r4")
    for name in ("hf", "gguf", "compressed-tensors", "gptq", "awq"):
        _, stderr = lrqat("export", "--model", converted, "--format", name, "--out", folder / "x", expect=1)
        assert "--rotations r4" in stderr and "nonsense" in stderr and not (folder / "x").exists(), stderr
    _, stderr = lrqat("train", "--model", converted, *ROUND, "--rotations", "r4", "--out", folder / "again", expect=1)
    assert "already" in stderr, stderr


def training_resumes_and_starts_as_the_model(folder):
    flags = ["train", "--model", tiny_model(folder), "--data", text_file(folder), *STEPS, "--rotations", "all", *W4A4KV4,
             "--save-every", 1]
    run, killed = folder / "run", folder / "killed"
    lrqat(*flags, "--out", run)
    kill_when_half_done([*flags, "--out", killed], killed)
    lrqat("train", "--resume", "--out", killed, "--threads", 1)
    assert run_state(killed) == run_state(run), "a resumed run differs from a straight one"
    lrqat("convert", "--run", run, "--out", folder / "c")
    assert nll(folder, run) == nll(folder, folder / "c")


def wrong_values_are_refused(folder):
    model = ["train", "--model", tiny_model(folder), *ROUND]
    for flags, message in ((["--rotations", "r9"], "expected none, absorbed"), (["--down-activation-bits", 5], "4, 8 or 16")):
        _, stderr = lrqat(*model, *flags, "--out", folder / "x", expect=2)
        assert message in stderr and not (folder / "x").exists(), stderr


if __name__ == "__main__":
    main([runs_and_converted_folders_keep_them, absorbed_ones_go_into_every_format,
          what_stands_in_the_forward_pass_is_refused_by_exporters, training_resumes_and_starts_as_the_model,
          wrong_values_are_refused])
