"""What `lrqat plan` says about memory against what training takes, on small models that are large in one respect."""

import json
import random
import struct

from tests.support import byte_tokenizer, lrqat, lrqat_json, main, text_file

MIB = 1 << 20


def write_model(folder, config, tensors):
    """A Hugging Face folder with tensors {name: shape} of small random float16 values."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(byte_tokenizer()))
    draw = random.Random(1)
    values = struct.pack("<65521e", *(draw.gauss(0, 0.05) for _ in range(65521)))  # a prime: rows differ
    header, offset, parts = {}, 0, []
    for name, shape in tensors.items():
        count = 2
        for side in shape:
            count *= side
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + count]}
        parts.append((values * (count // len(values) + 1))[:count])
        offset += count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for part in parts:
            file.write(part)
    return folder


def model(folder, *, hidden=64, inner=128, heads=4, layers=1, vocabulary=256, gemma2=False, tied=False):
    head = hidden // heads
    config = {"architectures": ["Gemma2ForCausalLM" if gemma2 else "LlamaForCausalLM"],
              "model_type": "gemma2" if gemma2 else "llama", "hidden_size": hidden, "intermediate_size": inner,
              "num_attention_heads": heads, "num_key_value_heads": heads, "num_hidden_layers": layers, "head_dim": head,
              "vocab_size": vocabulary, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 4096,
              "hidden_act": "silu", "tie_word_embeddings": tied, "bos_token_id": 1, "eos_token_id": 2}
    norms = ["input_layernorm", "post_attention_layernorm"]
    if gemma2:
        config |= {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "query_pre_attn_scalar": head,
                   "sliding_window": 4096, "hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu_pytorch_tanh"}
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    tensors = {"model.embed_tokens.weight": [vocabulary, hidden], "model.norm.weight": [hidden]}
    if not tied:
        tensors["lm_head.weight"] = [vocabulary, hidden]
    for i in range(layers):
        layer = f"model.layers.{i}."
        tensors |= {layer + norm + ".weight": [hidden] for norm in norms}
        tensors |= {layer + f"self_attn.{name}_proj.weight": [hidden, hidden] for name in "qkvo"}
        tensors |= {layer + f"mlp.{name}_proj.weight": [inner, hidden] for name in ("gate", "up")}
        tensors[layer + "mlp.down_proj.weight"] = [hidden, inner]
    return write_model(folder / "model", config, tensors)


def compare(folder, path, *flags, least):
    """The plan is an upper estimate and no far one; `least` MiB show that this is about something."""
    flags = ["--model", path, "--init", "range", "--distill-weight", 0, "--rank", 4, "--threads", 2, "--steps", 2, *flags]
    planned = lrqat_json("plan", *flags)
    run = folder / f"run{len(list(folder.glob('run*')))}"
    # a start of its own: forked processes (tests/lrqat_server.cpp) have part of the program's memory from their parent
    trained = json.loads(lrqat("train", *flags, "--data", text_file(folder), "--out", run, "--json", environment={})[0])
    said, used = planned["peak_memory_bytes"] / MIB, trained["peak_memory_bytes"] / MIB
    print(f"        planned {said:.0f} MiB, used {used:.0f} MiB")
    assert least < used < said, (said, used, planned["parts"])
    assert said < 1.5 * used + 150, (said, used, planned["parts"])
    return planned["parts"], used


SHORT = ["--batch-size", 1, "--sequence-length", 64]


def a_hessian_is_planned_and_held_once(folder):
    path = model(folder, inner=6144)
    hessian = 4 * 6144 * 6144 / MIB  # 144
    flags = [*SHORT, "--granularity", "group:32", "--calibration-tokens", 512]
    parts, used = compare(folder, path, *flags, "--init", "gptq", least=hessian)
    assert parts["calibration"] > hessian * MIB / 2, parts
    assert used < 2.5 * hessian + 200, "the factor is made in the Hessian's memory"


def awq_is_planned(folder):
    hessian = 4 * 8192 * 8192 / MIB
    compare(folder, model(folder, inner=8192), *SHORT, "--granularity", "group:32", "--calibration-tokens", 512,
            "--init", "awq", least=hessian)


def a_block_that_is_learned_is_planned(folder):
    path = model(folder, hidden=1024, inner=4096, heads=8)
    weights = (4 * 1024 * 1024 + 3 * 1024 * 4096) / MIB  # 16 million
    flags = [*SHORT, "--granularity", "group:32", "--calibration-tokens", 2048, "--init", "blockwise", "--block-steps", 2]
    _, used = compare(folder, path, *flags, least=8 * weights)
    assert used < 14 * weights + 250, "no gradient and no moments of the weights' size"


def a_trained_head_is_planned(folder):
    for tied in (False, True):
        path = model(folder / f"{tied}", hidden=512, inner=512, vocabulary=65536, tied=tied)
        table = 4 * 65536 * 512 / MIB  # 128
        _, used = compare(folder / f"{tied}", path, *SHORT, "--train-head", "true", least=4 * table)
        assert used < 5.5 * table + 200, "table, gradient and two moments; no copy in float64 for the norm"


def capped_scores_are_never_kept(folder):
    path = model(folder, hidden=128, heads=8, layers=2, gemma2=True, tied=True)
    scores = 4 * 2 * 8 * 2048 * 2048 / MIB  # of a block, 256
    for checkpointing in ("none", "block"):
        _, used = compare(folder, path, "--batch-size", 2, "--sequence-length", 2048, "--checkpointing", checkpointing, least=100)
        assert used < scores + 300, used


if __name__ == "__main__":
    main([a_hessian_is_planned_and_held_once, awq_is_planned, a_block_that_is_learned_is_planned, a_trained_head_is_planned, capped_scores_are_never_kept])
