"""lrqat plan on the tiny model: its parts are what the shapes say, and follow the recipe."""

import json

from tests.support import lrqat, lrqat_json, main, tiny_model

SIZES = ["--init", "range", "--distill-weight", 0, "--steps", 1000, "--batch-size", 2, "--sequence-length", 32, "--threads", 1]
RECIPE = [*SIZES, "--rank", 4]


def linears(model):
    """(N, K) of every quantized linear, from the config."""
    c = json.loads((model / "config.json").read_text())
    hidden, inner = c["hidden_size"], c["intermediate_size"]
    head = c.get("head_dim") or hidden // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    layer = [(q, hidden), (kv, hidden), (kv, hidden), (hidden, q), (inner, hidden), (inner, hidden), (hidden, inner)]
    return layer * c["num_hidden_layers"]


def plan(model, *more):
    return lrqat_json("plan", "--model", model, *RECIPE, *more)


def parts_are_what_the_shapes_say(folder):
    model = tiny_model(folder)
    found = plan(model)  # no --data: nothing runs
    shapes = linears(model)
    weights = sum(n * k for n, k in shapes)
    adapters = sum(4 * (n + k) for n, k in shapes)  # rank 4
    scales = sum(n * k // 32 for n, k in shapes)  # group:32, for gguf
    parts = found["parts"]
    assert parts["phi_0"] == weights  # fixed_point8: a byte each
    assert parts["adapters"] == 4 * adapters and parts["scales"] == 4 * scales
    assert parts["gradients"] == 4 * (adapters + scales) and parts["optimizer"] == 8 * (adapters + scales)
    assert found["peak_memory_bytes"] == sum(parts.values())
    assert found["seconds_per_step"] > 0
    assert abs(found["tokens_per_second"] * found["seconds_per_step"] - 64) < 1e-6


def parts_follow_the_recipe(folder):
    model = tiny_model(folder)
    weights = sum(n * k for n, k in linears(model))
    for phi, size in [("float32", 4), ("bfloat16", 2), ("float16", 2), ("int4", 0.5), ("integer", 0.5)]:
        assert plan(model, "--phi", phi)["parts"]["phi_0"] == size * weights, phi
    assert plan(model, "--granularity", "group:16")["parts"]["scales"] == 4 * weights / 16
    kept, again = (plan(model, "--checkpointing", how)["parts"]["activations"] for how in ("none", "block"))
    assert kept > again
    assert plan(model)["parts"]["teacher"] == 0
    assert plan(model, "--distill-weight", 1)["parts"]["teacher"] > 0


def time_has_parts(folder):
    model = tiny_model(folder)
    found = plan(model, "--checkpointing", "none")
    parts = found["step_parts"]
    assert abs(sum(parts.values()) - found["seconds_per_step"]) < 1e-9 and found["measured_gflops"] > 0, found
    assert parts["forward_backward"] > 0 and parts["head"] > 0 and parts["optimizer"] > 0
    assert parts["recompute"] == parts["teacher"] == 0, parts
    parts = plan(model, "--checkpointing", "block", "--distill-weight", 1)["step_parts"]
    assert parts["recompute"] > 0 and parts["teacher"] > 0, parts
    assert abs(found["seconds"] - 1000 * found["seconds_per_step"]) < 1e-6 * found["seconds"]


def activations_and_cache_count(folder):
    model = tiny_model(folder)
    plain, quantized = plan(model), plan(model, "--activation-bits", 8, "--kv-bits", 4)
    assert plain["setting"] == "W4A16KV16" and quantized["setting"] == "W4A8KV4"
    assert quantized["parts"]["activations"] > plain["parts"]["activations"], "masks take memory"
    config = json.loads((model / "config.json").read_text())
    width = config["num_key_value_heads"] * config["hidden_size"] // config["num_attention_heads"]
    layers = config["num_hidden_layers"]
    assert plain["kv_cache_bytes_per_token"] == 2 * layers * width * 2
    assert quantized["kv_cache_bytes_per_token"] == 2 * layers * (width / 2 + 4)
    learned = plan(model, "--activation-bits", 8, "--activation-range", "static", "--learn-activation-range", "true")
    assert learned["parts"]["activations"] > plan(model, "--activation-bits", 8)["parts"]["activations"]


def rounding_alone_has_a_plan(folder):
    found = lrqat_json("plan", "--model", tiny_model(folder), "--method", "rtn", "--threads", 1)
    assert found["seconds_per_step"] == 0 and found["prepare_seconds"] > 0
    assert found["parts"]["gradients"] == found["parts"]["activations"] == 0
    stdout, _ = lrqat("plan", "--model", tiny_model(folder), "--method", "rtn")
    assert "only rounds" in stdout, stdout


def speaks_to_people_without_json(folder):
    stdout, _ = lrqat("plan", "--model", tiny_model(folder), *RECIPE)
    assert "peak memory" in stdout and "{" not in stdout, stdout


def refuses(folder):
    model = tiny_model(folder)
    for more, code, message in [
        (["--model", folder / "none"], 1, "none"),
        ([], 2, "--model"),
        (["--model", model, "--granularity", "group:7"], 1, "7"),
        (["--model", model, "--bits", 5], 2, "bits"),
    ]:
        _, stderr = lrqat("plan", *more, expect=code)
        assert message in stderr, (more, stderr)


if __name__ == "__main__":
    main([parts_are_what_the_shapes_say, parts_follow_the_recipe, time_has_parts, activations_and_cache_count,
          rounding_alone_has_a_plan, speaks_to_people_without_json, refuses])
