"""Every file in recipes/: it says what its name says, it is listed in docs/recipes.md, `lrqat plan` and a dry run of two
steps work on the tiny model, and a recipe cut down is still the same method on the same grid."""

import json
import tomllib

from tests.support import ROOT, lrqat, lrqat_json, main, text_file, tiny_model

RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
FROM_TEXT = ("gptq", "awq", "blockwise")
CUT = {"steps", "batch-size", "gradient-accumulation", "sequence-length", "rank", "lora-alpha", "save-every", "eval-every",
       "eval-windows", "eval-context", "activation-batches", "calibration-tokens", "block-steps", "block-batch-size", "granularity"}


def fields(path):
    return tomllib.loads(path.read_text())


def said_by_the_name(name):
    """The fields that lr-qat-w4a8kv4-g128 and the like promise."""
    for method in ("lr-qat", "l4q", "lsq", "peqa", "qlora", "rtn", "gptq", "awq", "blockwise"):
        if not name.startswith(method + "-"):
            continue
        setting, _, granularity = name.removeprefix(method + "-").partition("-")
        promised = {"bits": int(setting[1])}
        if method in ("gptq", "awq", "blockwise"):
            promised["init"] = method
        else:
            promised["method"] = method
        if "kv" in setting:
            activations, _, kv = setting[3:].partition("kv")
            promised |= {"activation-bits": int(activations), "kv-bits": int(kv)}
        kind = granularity.split("-")[0]
        if kind in ("channel", "g128"):
            promised["granularity"] = "channel" if kind == "channel" else "group:128"
        return promised
    raise AssertionError(f"{name}: no method's name in front")


def names_say_what_is_in_them(folder):
    assert said_by_the_name("lr-qat-w4a8kv4") == {"bits": 4, "method": "lr-qat", "activation-bits": 8, "kv-bits": 4}
    assert said_by_the_name("l4q-w3-g128")["granularity"] == "group:128"
    for path in RECIPES:
        if path.stem == "study":  # named after what it is for
            continue
        found = fields(path)
        for key, value in said_by_the_name(path.stem).items():
            assert found.get(key) == value, f"{path.name}: {key} is {found.get(key)}, its name says {value}"


def each_is_listed_and_says_where_its_numbers_come_from(folder):
    text = (ROOT / "docs" / "recipes.md").read_text()
    for path in RECIPES:
        assert f"{path.stem}" in text, f"{path.name} is not in docs/recipes.md"
        assert path.read_text().startswith("# "), f"{path.name} begins without a word on its numbers"
    assert "no-such-recipe" not in text  # control


def each_has_a_plan(folder):
    model = tiny_model(folder)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))  # as the recipes' sequences need
    for path in RECIPES:
        small = lrqat_json("plan", "--model", model, "--config", path, "--scale-to", "small", "--threads", 1)
        found = fields(path)
        trains = found["method"] != "rtn"
        assert (small["seconds_per_step"] > 0) == trains, (path.name, small)
        assert small["prepare_seconds"] > 0, (path.name, small)
        assert small["peak_memory_bytes"] == sum(small["parts"].values()) > 0, path.name
        setting = f"W{found['bits']}A{found.get('activation-bits', 16)}KV{found.get('kv-bits', 16)}"
        assert small["setting"] == setting, (path.name, small["setting"])
        if found.get("granularity") != "group:128":  # 64 inputs hold no group of 128
            short = ["--sequence-length", 32] if trains or found.get("init") in FROM_TEXT else []  # what reads text
            whole = lrqat_json("plan", "--model", model, "--config", path, *short, "--threads", 1)
            assert whole["parts"]["adapters"] >= small["parts"]["adapters"], path.name


def each_runs(folder):
    model, text = tiny_model(folder), text_file(folder)
    for path in RECIPES:
        run = folder / path.stem
        document = lrqat_json("train", "--model", model, "--data", text, "--config", path, "--scale-to", "tiny",
                              "--threads", 1, "--out", run)
        wanted, found = fields(path), fields(run / "recipe.toml")
        assert document["steps"] == (2 if wanted["method"] != "rtn" else 0), (path.name, document)
        for key, value in wanted.items():
            decided = key == "compute-dtype" and value == "auto" and found[key] in ("float32", "bfloat16")
            assert key in CUT or found[key] == value or decided, f"{path.name}: {key} is {found[key]}, was {value}"
        if "rank" in wanted:
            assert abs(found["lora-alpha"] / found["rank"] - wanted["lora-alpha"] / wanted["rank"]) < 1e-12, path.name
        nll = lrqat_json("perplexity", "--model", run, "--data", text, "--context", 64, "--threads", 1)["nll"]
        assert 0 < nll < 20, (path.name, nll)


def flags_win_over_the_scale_and_groups_fit(folder):
    model, text = tiny_model(folder), text_file(folder)
    base = ["train", "--model", model, "--data", text, "--config", ROOT / "recipes" / "lr-qat-w4-g128.toml", "--threads", 1]
    run = folder / "run"
    lrqat(*base, "--scale-to", "tiny", "--steps", 1, "--rank", 6, "--out", run)
    found = fields(run / "recipe.toml")
    assert found["steps"] == 1 and found["rank"] == 6 and found["batch-size"] == 1, found
    assert found["granularity"] == "group:64", "the largest half of 128 that divides 64 and 128 inputs"
    _, stderr = lrqat(*base, "--scale-to", "tiny", "--granularity", "group:128", "--out", folder / "x", expect=1)
    assert "128" in stderr and not (folder / "x").exists(), stderr
    _, stderr = lrqat(*base, "--scale-to", "huge", "--out", folder / "x", expect=2)
    assert "small, tiny" in stderr, stderr
    _, stderr = lrqat("train", "--resume", "--out", run, "--scale-to", "tiny", expect=2)
    assert "--resume" in stderr, stderr


if __name__ == "__main__":
    main([names_say_what_is_in_them, each_is_listed_and_says_where_its_numbers_come_from, each_has_a_plan, each_runs,
          flags_win_over_the_scale_and_groups_fit])
