"""A converted folder read by numpy and safetensors alone, from lrqat/model/converted.h: nothing of lrqat's own."""

import json

import numpy as np
from safetensors import safe_open


def unpack(packed, columns):
    """Two codes a byte, low nibble first, stored as code + 8."""
    codes = np.empty((packed.shape[0], 2 * packed.shape[1]), np.int8)
    codes[:, 0::2] = (packed & 15).astype(np.int8) - 8
    codes[:, 1::2] = (packed >> 4).astype(np.int8) - 8
    return codes[:, :columns]


def columns_of(name, config):
    """in_features of a linear of a Llama model."""
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return {"o_proj": heads * head_dim, "down_proj": config["intermediate_size"]}.get(name.split(".")[-1],
                                                                                      config["hidden_size"])


def read(folder):
    """config, {Hugging Face name: float32 values}, names of the trained matrices. Values of integers are scale * (code - zero_point)."""
    config = json.loads((folder / "config.json").read_text())
    quantization = config["quantization_config"]
    assert quantization["quant_method"] == "lrqat"
    values = {}
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        names = set(file.keys())
        for layer in quantization["layers"] + quantization["blocks"]:
            name = layer["name"]
            if layer["num_bits"] <= 4:
                codes = unpack(file.get_tensor(name + ".weight_packed"), columns_of(name, config))
                names.discard(name + ".weight_packed")
            else:
                codes = file.get_tensor(name + ".weight_int")
                names.discard(name + ".weight_int")
            scale = file.get_tensor(name + ".weight_scale").astype(np.float32)
            names.discard(name + ".weight_scale")
            per_scale = codes.shape[1] // scale.shape[1]
            if layer.get("zero_point"):
                zero = file.get_tensor(name + ".weight_zero_point")
                codes = codes.astype(np.int32) - np.repeat(zero, per_scale, axis=1)
                names.discard(name + ".weight_zero_point")
            values[name + ".weight"] = codes.astype(np.float32) * np.repeat(scale, per_scale, axis=1)
        for name in names:
            values[name] = file.get_tensor(name).astype(np.float32)
    return config, values, {layer["name"] + ".weight" for layer in quantization["layers"]}
