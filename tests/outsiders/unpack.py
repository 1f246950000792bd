"""Folders of compressed-tensors, GPTQ and AWQ, and GGUF's Q2_0 blocks, read by numpy and safetensors alone, from the
formats' descriptions (docs/formats.md): nothing of lrqat's own. Every reader gives float32 values by tensor name."""

import json

import numpy as np
from safetensors import safe_open

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # nibble i of a word holds output AWQ_ORDER[i]


def numbers(words, bits, count):
    """[rows, words] of 32 bits -> [rows, count]: the bits of a row, lowest first, cut into numbers."""
    stream = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")
    cut = stream[:, :count * bits].reshape(len(words), count, bits).astype(np.int64)
    return (cut << np.arange(bits)).sum(axis=2)


def per_weight(array, columns):
    """[N, G] -> [N, K]"""
    return np.repeat(array, columns // array.shape[1], axis=1)


def compressed_tensors(get, has, module, config):
    scheme = next(group["weights"] for group in config["config_groups"].values()
                  if "Linear" in group["targets"] or module in group["targets"])
    bits = scheme["num_bits"]
    rows, columns = get(".weight_shape")
    codes = numbers(get(".weight_packed"), bits, columns)
    zeros = 2 ** (bits - 1)
    assert scheme["symmetric"] != has(".weight_zero_point")
    if has(".weight_zero_point"):
        zeros = per_weight(numbers(get(".weight_zero_point").T, bits, rows).T, columns)
    scale = get(".weight_scale")
    groups = 1 if scheme["strategy"] == "channel" else columns // scheme["group_size"]
    assert scale.shape == (rows, groups), (scale.shape, rows, groups)
    return per_weight(scale.astype(np.float32), columns) * (codes - zeros).astype(np.float32)


def gptq(get, has, module, config):
    bits, offset = config["bits"], {"gptq": 1, "gptq_v2": 0}[config["checkpoint_format"]]
    words, scales, index = get(".qweight"), get(".scales"), get(".g_idx")
    columns, rows = len(index), words.shape[1]
    assert len(words) * 32 == columns * bits
    codes = numbers(words.T, bits, columns)
    zeros = (numbers(get(".qzeros"), bits, rows) + offset).T
    assert config["group_size"] in (-1, columns // len(scales)) and not config["desc_act"]
    assert config["sym"] == bool(np.all(zeros == 2 ** (bits - 1)))
    return scales.T[:, index].astype(np.float32) * (codes - zeros[:, index]).astype(np.float32)


def awq(get, has, module, config):
    def unpack(words):
        count = words.shape[1] * 8
        packed = numbers(words, 4, count).reshape(len(words), -1, 8)
        values = np.empty_like(packed)
        values[:, :, AWQ_ORDER] = packed
        return values.reshape(len(words), count).T

    assert config["bits"] == 4 and config["version"] == "gemm"
    codes, scales = unpack(get(".qweight")), get(".scales").T
    zeros = per_weight(unpack(get(".qzeros")), codes.shape[1])
    return per_weight(scales.astype(np.float32), codes.shape[1]) * (codes - zeros).astype(np.float32)


READERS = {"compressed-tensors": (compressed_tensors, ".weight_packed",
                                  (".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point")),
           "gptq": (gptq, ".qweight", (".qweight", ".qzeros", ".scales", ".g_idx")),
           "awq": (awq, ".qweight", (".qweight", ".qzeros", ".scales"))}


def read(folder):
    """{name: float32 values}, and the names that were packed."""
    config = json.loads((folder / "config.json").read_text()).get("quantization_config")
    values, packed = {}, set()
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        def array(name):
            tensor = file.get_tensor(name)
            return (tensor.float() if tensor.is_floating_point() else tensor).numpy()

        names = set(file.keys())
        if config is not None:
            reader, marker, suffixes = READERS[config["quant_method"]]
            for name in sorted(name for name in names if name.endswith(marker)):
                module = name.removesuffix(marker)
                values[module + ".weight"] = reader(lambda suffix, m=module: array(m + suffix),
                                                    lambda suffix, m=module: m + suffix in names, module, config)
                packed.add(module + ".weight")
                names -= {module + suffix for suffix in suffixes}
        for name in names:
            values[name] = array(name).astype(np.float32)
    return values, packed


def q2_0(data):
    """ggml's Q2_0: a float16 scale and 64 two-bit numbers, lowest bits first, value scale * (number - 1)."""
    blocks = np.frombuffer(data, np.uint8).reshape(-1, 18)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    return scale * (((blocks[:, 2:, None] >> np.array([0, 2, 4, 6])) & 3).reshape(-1, 64).astype(np.float32) - 1)


class Gguf:
    """A GGUF file as docs/gguf.md of ggml says, for types that the gguf package does not know yet: {name: (type id, shape,
    bytes)}, rows first."""

    SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 42: (64, 18)}  # type: elements, bytes

    def __init__(self, path):
        self.data, self.at = path.read_bytes(), 0
        assert self.data[:4] == b"GGUF"
        self.at = 8
        tensors, keys = self.integer(8), self.integer(8)
        for _ in range(keys):
            self.text()
            self.value(self.integer(4))
        infos = [self.info() for _ in range(tensors)]
        start = -(-self.at // 32) * 32
        self.tensors = {}
        for name, shape, kind, offset in infos:
            elements, size = self.BLOCKS[kind]
            count = int(np.prod(shape)) // elements * size
            self.tensors[name] = (kind, shape, self.data[start + offset:start + offset + count])

    def integer(self, size):
        self.at += size
        return int.from_bytes(self.data[self.at - size:self.at], "little")

    def text(self):
        size = self.integer(8)
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            inner, count = self.integer(4), self.integer(8)
            return [self.value(inner) for _ in range(count)]
        return self.integer(self.SIZES[kind])

    def info(self):
        name, dimensions = self.text(), self.integer(4)
        shape = [self.integer(8) for _ in range(dimensions)][::-1]
        return name, shape, self.integer(4), self.integer(8)
