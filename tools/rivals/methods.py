"""What `make rivals` runs: settings (bits and groups), and for each the methods."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Setting:
    """symmetric False: zero points, as two bits are published."""

    bits: int
    granularity: str
    symmetric: bool = True

    @property
    def name(self) -> str:
        return f"w{self.bits}-{self.granularity.replace('group:', 'g')}"

    @property
    def title(self) -> str:
        scales = "a channel" if self.granularity == "channel" else f"groups of {self.granularity.split(':')[1]}"
        return f"W{self.bits}, {scales}" + ("" if self.symmetric else ", zero points")

    def group_size(self, in_features: int) -> int:
        return in_features if self.granularity == "channel" else int(self.granularity.split(":")[1])

    def flags(self) -> list[str]:
        return ["--bits", str(self.bits), "--granularity", self.granularity, "--symmetric", str(self.symmetric).lower()]


SETTINGS = [Setting(4, "channel"), Setting(4, "group:32"), Setting(3, "group:64"), Setting(2, "group:64", symmetric=False)]


@dataclasses.dataclass(frozen=True)
class Size:
    """A type of llama.cpp, and what is no larger than its file."""

    kind: str

    @property
    def name(self) -> str:
        return self.kind.lower()

    @property
    def title(self) -> str:
        return f"llama.cpp's {self.kind}, and what is no larger"


@dataclasses.dataclass(frozen=True)
class Activations(Setting):
    """Activations, keys and values with as many bits as the weights."""

    @property
    def name(self) -> str:
        return f"w{self.bits}a{self.bits}kv{self.bits}"

    @property
    def title(self) -> str:
        return f"W{self.bits}A{self.bits}KV{self.bits}, rounded; activations with a scale a token, {super().title}"

    def flags(self) -> list[str]:
        return [*super().flags(), "--activation-bits", str(self.bits), "--kv-bits", str(self.bits)]


SIZES = [Size(kind) for kind in ("Q4_0", "Q4_K", "Q3_K", "Q2_K")]
ACTIVATIONS = [Activations(4, "channel")]


@dataclasses.dataclass(frozen=True)
class Method:
    """program: autoround, quantize or train (build/lrqat), llama.cpp. flags: its own. Those that are not `usual` take hours and run
    where they are asked for."""

    name: str
    label: str
    program: str
    flags: tuple[str, ...] = ()
    usual: bool = True
    seeds: bool = False  # carries the claim: run with each of RIVALS_SEEDS


def autoround(iterations: int, samples: int) -> tuple[str, ...]:
    return ("--iterations", str(iterations), "--samples", str(samples))


E2E = ("--config", "recipes/study.toml", "--held-out", "0")
METHODS = [
    Method("rtn", "rounding to nearest", "train", ("--method", "rtn")),
    Method("autoround", "AutoRound, 50 iterations, 64 × 512 tokens", "autoround", autoround(50, 64), seeds=True),
    Method("lrqat-fast", "lrqat quantize, fast", "quantize", ("--preset", "fast"), seeds=True),
    Method("lrqat-blocks", "lrqat, block by block only", "train",
           ("--method", "rtn", "--init", "blockwise", "--calibration-tokens", "51200"), seeds=True),
    Method("lrqat", "lrqat quantize, balanced", "quantize", ("--preset", "balanced"), seeds=True),
    Method("gptq", "GPTQ", "train", ("--method", "rtn", "--init", "gptq")),
    Method("awq", "AWQ", "train", ("--method", "rtn", "--init", "awq")),
    Method("efficientqat", "EfficientQAT's order: blocks, then scales by its rate", "train",
           ("--method", "peqa", "--init", "blockwise", "--scale-lr", "1e-5", "--steps", "40", "--held-out", "0")),
    Method("lr-qat", "LR-QAT as published, 40 steps", "train", E2E),
    Method("l4q", "L4Q as published, 40 steps", "train",
           (*E2E, "--method", "l4q", "--lr", "2e-3", "--scale-lr", "1e-4", "--weight-decay", "0")),
    Method("autoround-default", "AutoRound, 200 iterations, 128 × 512 tokens", "autoround", autoround(200, 128), usual=False),
    Method("lrqat-best", "lrqat quantize, best", "quantize", ("--preset", "best"), usual=False),
    Method("autoround-best", "AutoRound's best: 1000 iterations, 512 × 512 tokens", "autoround", autoround(1000, 512), usual=False),
]

# What a method stands beside in tables, where that is not "autoround".
RIVAL = {"lrqat-best": "autoround-default", "autoround-best": "autoround-default"}

SIZE_METHODS = [
    Method("llama.cpp", "llama.cpp's quantizer, nothing calibrated", "llama.cpp"),
    Method("lrqat", "lrqat quantize, balanced, --target-bpw", "quantize", ("--preset", "balanced"), seeds=True),
]

ACTIVATION_METHODS = [
    Method("rtn", "without rotations", "train", ("--method", "rtn")),
    Method("rotated", "--rotations all", "train", ("--method", "rtn", "--rotations", "all")),
    Method("rotated-down8", "--rotations all, down_proj's input with 8 bits", "train",
           ("--method", "rtn", "--rotations", "all", "--down-activation-bits", "8")),
]

# Settings with the methods that are run at each.
TABLES = [*((setting, METHODS) for setting in SETTINGS), *((size, SIZE_METHODS) for size in SIZES),
          *((setting, ACTIVATION_METHODS) for setting in ACTIVATIONS)]
