"""The perplexity of an exported GGUF file: `lrqat perplexity` of the converted model against llama.cpp on the file.

llama.cpp's server gives the whole distribution of the next token. One request a position of a window, each of them one
token longer, is the definition of perplexity. Of a file with float32 matrices the two figures agree within float32's
rounding; of a Q4_0 file within what llama.cpp's 8-bit activations do to the same distributions, which is measured there."""

import json
import math
import sys
import tempfile
from pathlib import Path

import support

np, _, _ = support.require("numpy", "safetensors.numpy", "xllamacpp")
from llama_cpp_test import LlamaCpp, export, our_log_probabilities  # noqa: E402
import tests.support  # noqa: E402

CONTEXT = 16
VOCABULARY = 49152
# A float32 log-probability differs by about 1e-5 (tests/model), and a log-perplexity is a mean of such.
FLOAT32 = 5e-5


def tokens_of(text):
    printed, _ = tests.support.lrqat("tokenize", "--model", support.smollm2(), "--no-special", "--json",
                                     stdin=json.dumps(text) + "\n")
    return json.loads(printed)


def by_llama_cpp(path, ids):
    """log-probabilities [len(ids) - 1, vocabulary]: row i is of the token after ids[: i + 1]. The server sums the
    probabilities in float32, largest first, and so loses its tail (1.6e-4 here): they are normalised again."""
    server = LlamaCpp(path)
    rows = np.empty((len(ids) - 1, VOCABULARY))
    for i in range(len(ids) - 1):
        _, _, top = server.complete(ids[:i + 1], 1, VOCABULARY)
        assert len(set(top[0, :, 0])) == VOCABULARY
        rows[i][top[0, :, 0].astype(int)] = top[0, :, 1]
    return rows - np.log(np.sum(np.exp(rows), axis=1, keepdims=True))


def log_perplexity(rows, ids):
    return -float(np.mean([row[token] for row, token in zip(rows, ids[1:])]))


def of_eight_bit_activations(ours, theirs):
    """How far two log-perplexities over the same tokens may lie apart, in nats. Where log p changes by δ, with small
    independent δ, KL = E[-δ] = Var δ / 2: the mean of n of them is off by KL, and by chance by sqrt(2 KL / n)."""
    kl = float(np.mean(np.sum(np.exp(ours) * (ours - theirs), axis=1)))
    return kl + 3 * math.sqrt(2 * kl / len(ours))


class Window:
    """The first CONTEXT tokens of the novels, and the rounded model."""

    def __init__(self, folder):
        self.folder, self.text = folder, folder / "text.txt"
        self.text.write_text((support.ROOT / "data" / "novels.txt").read_text()[:2000])
        self.ids = tokens_of(self.text.read_text())[:CONTEXT]
        self.model = support.converted(support.smollm2(), folder / "work", "--bits", 4, "--granularity", "channel")
        self.found = self.perplexity(self.model)

    def perplexity(self, model):
        found = support.lrqat("perplexity", "--model", model, "--data", self.text, "--context", CONTEXT, "--max-windows", 1)
        assert found["tokens"] == CONTEXT - 1, found
        return math.log(found["perplexity"])

    def check(self, rows, tolerance):
        """Ours is llama.cpp's; not so the float model's, nor that of the tokens one to the left."""
        theirs = log_perplexity(rows, self.ids)
        assert abs(self.found - theirs) <= tolerance, (self.found, theirs, tolerance)
        unrounded = abs(self.perplexity(support.smollm2()) - theirs)
        shifted = abs(log_perplexity(rows, self.ids[:1] + self.ids[:-1]) - self.found)
        assert min(unrounded, shifted) > 2 * tolerance, (unrounded, shifted, tolerance)
        return (f"log-perplexity {self.found:.6f}, llama.cpp {theirs:.6f}, tolerance {tolerance:.1e}; "
                f"the float model is {unrounded:.2f} off")

    def as_floats(self):
        path = export(self.model, self.folder / "f32.gguf", "--matrices", "f32")
        return self.check(by_llama_cpp(path, self.ids), FLOAT32)

    def as_blocks(self):
        path = export(self.model, self.folder / "q4_0.gguf")
        rows = by_llama_cpp(path, self.ids)
        return self.check(rows, of_eight_bit_activations(
            our_log_probabilities(self.model, self.ids, self.folder)[:-1], rows))


def main():
    with tempfile.TemporaryDirectory() as name:
        try:
            window = Window(Path(name))
        except support.Skipped as reason:
            print(f"skipped: {reason}")
            return support.SKIPPED
        return support.run({"float32 matrices": window.as_floats, "Q4_0 blocks": window.as_blocks})


if __name__ == "__main__":
    sys.exit(main())
