"""Exported files in llama.cpp (PyPI's xllamacpp).

llama.cpp rounds activations to 8 bits in products with Q4_0 blocks, so a Q4_0 file is held to a small divergence only.
The same file with its matrices as float32 (--matrices f32) must give our converted model's log-probabilities within
1e-3 and the same greedy text: then metadata, row order, biases, rotary embedding and vocabulary are right, and
gguf_test.py shows that the blocks hold the same numbers.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import support

np, safetensors_numpy, xl = support.require("numpy", "safetensors.numpy", "xllamacpp")

PROMPT = "Once upon a time, in a village by the sea, there lived"
TOLERANCE = 1e-3  # in log-probability; measured 2e-4 for float32 files
# Mean KL of the distributions (nats) that rounding activations to 8 bits may cause; measured 5e-3, where rounding to 4
# bits itself costs 0.6.
KL_OF_ACTIVATIONS = 0.02
VOCABULARY = support.ROOT / "tests" / "data" / "text" / "mistral" / "v1.model"


class LlamaCpp:
    """A file loaded in llama.cpp, everything in float32 that can be."""

    def __init__(self, path):
        parameters = xl.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx = 256
        parameters.n_parallel = 1
        parameters.n_gpu_layers = 0
        parameters.warmup = False
        parameters.port = 0
        parameters.cache_type_k = parameters.cache_type_v = xl.ggml_type.GGML_TYPE_F32
        parameters.flash_attn_type = xl.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xl.Server(parameters)

    def complete(self, prompt, tokens, probabilities):
        """Greedy text, its ids, and the log-probabilities before each of them: [tokens, probabilities] ids and values."""
        answer = self.server.handle_completions({"prompt": prompt, "n_predict": tokens, "temperature": 0,
                                                 "n_probs": probabilities, "cache_prompt": False})
        choice = answer["choices"][0]
        content = choice["logprobs"]["content"]
        top = [[(entry["id"], entry["logprob"]) for entry in position["top_logprobs"]] for position in content]
        return choice["text"], [position["id"] for position in content], np.array(top)


def our_log_probabilities(model, ids, folder):
    """[len(ids), vocabulary], of the token after each id."""
    support.gtest("export_tests", "OutsiderFiles.LogProbabilities", LRQAT_OUTSIDER_MODEL=model,
                  LRQAT_OUTSIDER_IDS=",".join(map(str, ids)), LRQAT_WRITE_OUTSIDER_FILES=folder)
    return safetensors_numpy.load_file(folder / "log_probabilities.safetensors")["log_probabilities"]


def largest_difference(top, ours):
    """Over the tokens that llama.cpp lists. top [tokens, n, (id, log-probability)], ours [tokens, vocabulary]."""
    return max(np.abs(ours[i][top[i, :, 0].astype(int)] - top[i, :, 1]).max() for i in range(len(top)))


def mean_kl(ours, top):
    """KL(ours || llama.cpp's) where top lists the whole vocabulary."""
    total = 0.0
    for position, listed in zip(ours, top):
        theirs = np.empty_like(position, dtype=np.float64)
        theirs[listed[:, 0].astype(int)] = listed[:, 1]
        total += float(np.sum(np.exp(position.astype(np.float64)) * (position - theirs)))
    return total / len(top)


def export(model, out, *options):
    report = support.lrqat("export", "--model", model, "--format", "gguf", "--out", out, "--rest-type", "keep", *options)
    assert report["bit_exact_tensors"] == report["tensors"] > 0, report
    return out


class SmolLM2:
    def __init__(self, folder):
        self.folder = folder
        self.vocabulary = 49152

    def convert(self):
        self.model = support.converted(support.smollm2(), self.folder / "work", "--bits", 4, "--granularity", "channel")
        self.ours = support.lrqat("generate", "--model", self.model, "--prompt", PROMPT, "--max-tokens", 24)

    def as_floats(self):
        """Log-probabilities and greedy text of the F32 file."""
        path = export(self.model, self.folder / "f32.gguf", "--matrices", "f32")
        text, ids, top = LlamaCpp(path).complete(PROMPT, 24, 100)
        path.unlink()
        assert text == self.ours["text"], f"llama.cpp: {text!r}, ours: {self.ours['text']!r}"
        assert ids == self.ours["tokens"] and len(ids) > 10, (ids, self.ours["tokens"])
        prompt = self.ours["prompt_tokens"]
        ours = our_log_probabilities(self.model, prompt + ids, self.folder)[len(prompt) - 1:-1]
        difference = largest_difference(top, ours)
        assert difference < TOLERANCE, f"log-probabilities differ by {difference}"
        # The control: the float model that the integers were rounded from must not pass.
        unrounded = our_log_probabilities(support.smollm2(), prompt + ids, self.folder)[len(prompt) - 1:-1]
        assert largest_difference(top, unrounded) > 100 * TOLERANCE
        return f"{len(ids)} tokens, log-probabilities within {difference:.1e}"

    def every_type(self):
        """Each block type that rows of 576 fit: loads, a small divergence, and the F32 rewrite is our model."""
        prompt = self.ours["prompt_tokens"]
        said = []
        for kind, bits in (("q2_0", 2), ("q4_0", 4), ("q4_1", 4), ("q5_0", 4), ("q8_0", 8)):
            if not hasattr(xl.ggml_type, f"GGML_TYPE_{kind.upper()}"):
                said.append(f"{kind} is not in this llama.cpp")
                continue
            model = self.model
            if bits != 4:
                # A whole model rounded to 2 bits is noise, and then so is its answer to llama.cpp's 8-bit activations.
                part = ["--granularity", "group:64", "--overrides", "*.self_attn.* skip", "*.gate_proj skip",
                        "*.up_proj skip"] if bits == 2 else ["--granularity", "channel"]
                model = support.converted(support.smollm2(), self.folder / f"smollm2-{bits}", "--bits", bits, *part)
            path = export(model, self.folder / f"every_{kind}.gguf", "--linear-type", kind)
            compared = support.lrqat("inspect", "--compare", model, path)
            assert compared["equal"], compared["differing"][:2]
            difference = as_float_matrices(self.folder, path, model, prompt)
            _, ids, top = LlamaCpp(path).complete(prompt, 2, self.vocabulary)
            ours = our_log_probabilities(model, prompt + ids, self.folder)[len(prompt) - 1:len(prompt) + len(ids) - 1]
            kl = mean_kl(ours, top)
            assert 0 <= kl < KL_OF_ACTIVATIONS, (kind, kl)
            path.unlink()
            said.append(f"{kind} {difference:.1e}, KL {kl:.1e}")
        return "; ".join(said)

    def as_blocks(self):
        """The Q4_0 file: loads, runs, small divergence."""
        path = export(self.model, self.folder / "smollm2_q4_0.gguf")
        prompt = self.ours["prompt_tokens"]
        text, ids, top = LlamaCpp(path).complete(prompt, 4, self.vocabulary)
        assert top.shape[1] == self.vocabulary and text, (top.shape, text)
        ours = our_log_probabilities(self.model, prompt + ids, self.folder)[len(prompt) - 1:-1]
        kl = mean_kl(ours, top)
        assert 0 <= kl < KL_OF_ACTIVATIONS, f"mean KL {kl}"
        unrounded = our_log_probabilities(support.smollm2(), prompt + ids, self.folder)[len(prompt) - 1:-1]
        control = mean_kl(unrounded, top)
        assert control > KL_OF_ACTIVATIONS, f"the float model has a mean KL of only {control}"
        return f"mean KL {kl:.1e} (from the float model {control:.1e})"


# What SmolLM2 does not have: biases, an untied head, stretched rotary frequencies, a SentencePiece vocabulary.
SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 32000, "max_position_embeddings": 256,
         "rms_norm_eps": 1e-5, "hidden_act": "silu", "model_type": "llama", "architectures": ["LlamaForCausalLM"],
         "bos_token_id": 1, "eos_token_id": 2}
LLAMA3 = {**SMALL, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False,
          "rope_parameters": {"rope_theta": 100.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                              "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}
QWEN2 = {**SMALL, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": False,
         "rope_parameters": {"rope_theta": 100.0, "rope_type": "default"}}
QWEN3 = {**SMALL, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "tie_word_embeddings": True,
         "rope_parameters": {"rope_theta": 100.0, "rope_type": "default"}}
SMOLLM3 = {**SMALL, "model_type": "smollm3", "architectures": ["SmolLM3ForCausalLM"], "tie_word_embeddings": True,
           "num_hidden_layers": 4, "rope_parameters": {"rope_theta": 100.0, "rope_type": "default"}}
WIDE = {**SMALL, "hidden_size": 256, "intermediate_size": 512, "head_dim": 64, "tie_word_embeddings": True,
        "embedding_std": 0.1,  # logits of a few units: a KL that says something
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}
LINEAR = {**SMALL, "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
          "rope_parameters": {"rope_theta": 10000.0, "rope_type": "linear", "factor": 4.0}}


def write_model(folder, config):
    """A random Hugging Face model whose biases and rotary angles matter."""
    folder.mkdir()
    random = np.random.default_rng(3)
    hidden, inner, head_dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    heads, groups = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    biased = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"} if config["model_type"] == "qwen2" else ()
    shapes = {"self_attn.q_proj": (heads, hidden), "self_attn.k_proj": (groups, hidden),
              "self_attn.v_proj": (groups, hidden), "self_attn.o_proj": (hidden, heads),
              "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner)}
    tensors = {"model.embed_tokens.weight": random.normal(0, config.get("embedding_std", 1), (config["vocab_size"], hidden)),
               "model.norm.weight": random.normal(1, 0.1, hidden)}
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = random.normal(0, 0.2, (config["vocab_size"], hidden))
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{name}.weight"] = random.normal(1, 0.1, hidden)
        for name, shape in shapes.items():
            tensors[f"{prefix}{name}.weight"] = random.normal(0, 2 / hidden ** 0.5, shape)
            if config.get("attention_bias") or name in biased:
                tensors[f"{prefix}{name}.bias"] = random.normal(0, 0.5, shape[0])
        if config["model_type"] == "qwen3":
            for name in ("q_norm", "k_norm"):
                tensors[f"{prefix}self_attn.{name}.weight"] = random.normal(1, 0.3, head_dim)
    safetensors_numpy.save_file({name: array.astype(np.float32) for name, array in tensors.items()},
                                folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.model").write_bytes(VOCABULARY.read_bytes())
    return folder


def small(folder, name, config):
    theta = config["rope_parameters"]["rope_theta"] * (1.01 if config["rope_parameters"]["rope_type"] == "default" else 1)
    return compare_small(folder, name, write_model(folder / name, config),
                         {"rope_parameters": {"rope_theta": theta, "rope_type": "default"}})


# Families and rotary embeddings that transformers makes the random model of: (model_type, settings, control).
LONG = {"rope_type": "longrope", "rope_theta": 100.0, "short_factor": [1.0, 1.1, 1.3, 1.6, 2.0, 2.2, 2.5, 3.0],
        "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]}
PART = {**LONG, "short_factor": LONG["short_factor"][:6], "long_factor": LONG["long_factor"][:6], "partial_rotary_factor": 0.75}
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 64}
GEMMA = {"tie_word_embeddings": True, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 32}
LOCAL = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000.0},
         "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}
MADE = {
    "yarn": ("llama", {"rope_parameters": YARN}, {"rope_parameters": {**YARN, "attention_factor": 1.0}}),
    "yarn with an attention factor": ("qwen2", {"rope_parameters": {**YARN, "attention_factor": 1.3, "beta_fast": 16.0}},
                                      {"rope_parameters": {**YARN, "attention_factor": 1.2}}),
    "dynamic, within the context": ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 4.0}},
                                    {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 101.0, "factor": 4.0}}),
    "Phi-3": ("phi3", {"original_max_position_embeddings": 256}, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e5}}),
    "Phi-3 with longrope": ("phi3", {"original_max_position_embeddings": 64, "rope_parameters": LONG},
                            {"original_max_position_embeddings": 255}),
    "Phi-4-mini: longrope in part of each head": ("phi3", {"original_max_position_embeddings": 64, "rope_parameters": PART,
                                                           "tie_word_embeddings": True},
                                                  {"original_max_position_embeddings": 255}),
    "Gemma": ("gemma", GEMMA, {"rms_norm_eps": 0.1}),
    "Gemma 2": ("gemma2", {**GEMMA, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 5.0},
                {"attn_logit_softcapping": 4.0}),
    "Gemma 3": ("gemma3_text", {**GEMMA, "num_hidden_layers": 6, "rope_parameters": LOCAL,
                                "layer_types": ["sliding_attention"] * 5 + ["full_attention"]},
                {"rope_parameters": {**LOCAL, "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0}}}),
}


def made(folder, name):
    import families_test
    model_type, settings, control = MADE[name]
    short = "".join(c for c in name if c.isalnum())
    # Its folder names it: llama.cpp takes a general.name with "phi3" for the real model, and asks for its tokens.
    shutil.rmtree(folder / "family", ignore_errors=True)
    (folder / "family").mkdir()
    families_test.save(folder / "family" / "model", model_type,
                       {"vocab_size": 32000, "max_position_embeddings": 256, "sliding_window": None, **settings})
    (folder / "family" / "model" / "tokenizer.model").write_bytes(VOCABULARY.read_bytes())
    # ggml reads GELU from a table of float16 numbers: 2^-11 of values of a few units, through the layers.
    return compare_small(folder, short, folder / "family" / "model", control, 1e-2 if name.startswith("Gemma") else TOLERANCE)


def compare_small(folder, name, source, control_settings, tolerance=TOLERANCE):
    """Log-probabilities of a random model, at the end of a prompt so long that rotary angles have gone round."""
    model = support.converted(source, folder / f"{name}-work", "--bits", 4, "--granularity", "group:32")
    path = export(model, folder / f"{name}.gguf", "--matrices", "f32")
    prompt = [1] + [int(i) for i in np.random.default_rng(5).integers(300, 31000, 120)]
    _, ids, top = LlamaCpp(path).complete(prompt, 4, 1000)

    def difference(folder_of_model):
        ours = our_log_probabilities(folder_of_model, prompt + ids, folder)
        return largest_difference(top, ours[len(prompt) - 1:len(prompt) + len(ids) - 1])

    found = difference(model)
    assert found < tolerance, f"log-probabilities differ by {found}"
    # The file opens again as the same model, metadata included.
    back = difference(path)
    assert back < tolerance, f"opened again, log-probabilities differ by {back}"
    # The control: other settings (unstretched rotary frequencies) must not pass.
    changed = {**json.loads((model / "config.json").read_text()), **control_settings}
    (model / "config.json").write_text(json.dumps(changed))
    control = difference(model)
    assert control > 10 * tolerance, f"with {control_settings} the difference is only {control}"
    return f"within {found:.1e} (with other settings {control:.1e})"


def as_float_matrices(folder, path, model, prompt):
    """The same file with every matrix as float32: llama.cpp's log-probabilities and greedy tokens are those of `model`. The
    largest difference."""
    rewritten = export(path, folder / "rewritten.gguf", "--matrices", "f32", "--force")
    _, ids, top = LlamaCpp(rewritten).complete(prompt, 12, 100)
    rewritten.unlink()
    ours = our_log_probabilities(model, prompt + ids, folder)[len(prompt) - 1:-1]
    difference = largest_difference(top, ours)
    assert difference < TOLERANCE, (path, f"log-probabilities differ by {difference}")
    greedy = ours.argmax(1)
    best = np.sort(ours, 1)
    for i, token in enumerate(ids[:len(greedy)]):  # a tie within the tolerance may go either way
        assert token == greedy[i] or best[i, -1] - ours[i, token] < 2 * TOLERANCE, (path, ids, list(greedy))
    return difference


def export_rest(folder):
    out = folder / "rest.gguf"
    support.lrqat("export", "--model", folder / "wide-4" / "converted", "--format", "gguf", "--rest-type", "q6_k", "--out", out)
    return out


def block_types(folder):
    """Every block type that linears are written in: llama.cpp loads it, and the divergence is that of its 8-bit
    activations. A type that this llama.cpp does not have is named."""
    source = write_model(folder / "wide", WIDE)
    prompt = [1] + [int(i) for i in np.random.default_rng(6).integers(300, 31000, 20)]
    unknown, largest = [], 0.0
    for kind, bits in (("q2_0", 2), ("q2_k", 2), ("q3_k", 3), ("q4_0", 4), ("q4_k", 4), ("q4_1", 4), ("q5_0", 4),
                       ("q6_k", 4), ("q8_0", 8)):
        if not hasattr(xl.ggml_type, f"GGML_TYPE_{kind.upper()}"):
            unknown.append(kind)
            continue
        model = folder / f"wide-{bits}" / "converted"
        if not model.exists():
            support.converted(source, model.parent, "--bits", bits, "--granularity", "channel")
        path = export(model, folder / f"{kind}.gguf", "--linear-type", kind)
        rewritten = as_float_matrices(folder, path, model, prompt)
        _, ids, top = LlamaCpp(path).complete(prompt, 2, WIDE["vocab_size"])
        ours = our_log_probabilities(model, prompt + ids, folder)[len(prompt) - 1:len(prompt) + len(ids) - 1]
        kl = mean_kl(ours, top)
        assert 0 <= kl < KL_OF_ACTIVATIONS, (kind, kl)
        unrounded = our_log_probabilities(source, prompt + ids, folder)[len(prompt) - 1:len(prompt) + len(ids) - 1]
        control = mean_kl(unrounded, top)
        assert bits == 8 or control > 5 * kl, (kind, kl, control)
        largest = max(largest, kl)
        print(f"    {kind}: mean KL {kl:.1e} (from the float model {control:.1e}); matrices as float32: {rewritten:.1e}")
    path = export_rest(folder)
    _, ids, top = LlamaCpp(path).complete(prompt, 2, WIDE["vocab_size"])
    ours = our_log_probabilities(path, prompt + ids, folder)[len(prompt) - 1:len(prompt) + len(ids) - 1]
    kl = mean_kl(ours, top)
    assert 0 <= kl < KL_OF_ACTIVATIONS, ("--rest-type q6_k", kl)
    print(f"    --rest-type q6_k: mean KL {kl:.1e}")
    return f"mean KL at most {largest:.1e}" + (f"; not in this llama.cpp: {', '.join(unknown)}" if unknown else "")


def more_tokens_than_rows(folder):
    """A tokenizer with a token that the embedding has no row for: llama.cpp loads the export, without that token."""
    sys.path.insert(0, str(support.ROOT))
    from tests.support import tiny_model
    model = tiny_model(folder)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({"id": 256, "content": "<pad>", "single_word": False, "lstrip": False, "rstrip": False,
                                      "normalized": False, "special": True})
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    source = support.converted(model, folder / "pad", "--bits", 4, "--granularity", "group:32")
    path = export(source, folder / "pad.gguf", "--matrices", "f32")
    # Loading is an error where the vocabulary is not as long as the embedding.
    answer = LlamaCpp(path).server.handle_completions({"prompt": "the", "n_predict": 4, "temperature": 0})
    assert answer["usage"]["prompt_tokens"] > 0, answer


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        smollm2 = SmolLM2(folder)
        checks = {
            "biases, Llama 3's rotary embedding, untied head": lambda: small(folder, "llama3", LLAMA3),
            "linear rotary embedding, tied head": lambda: small(folder, "linear", LINEAR),
            "Qwen2: biases of q, k and v": lambda: small(folder, "qwen2", QWEN2),
            "Qwen3: norms of heads": lambda: small(folder, "qwen3", QWEN3),
            "SmolLM3: layers without rotary embedding": lambda: small(folder, "smollm3", SMOLLM3),
            **{name: lambda name=name: made(folder, name) for name in MADE},
            "every block type": lambda: block_types(folder),
            "more tokens than rows": lambda: more_tokens_than_rows(folder),
            "SmolLM2 rounded and converted": smollm2.convert,
            "SmolLM2 with matrices as float32": smollm2.as_floats,
            "SmolLM2 in Q4_0": smollm2.as_blocks,
            **({"SmolLM2 in every type that fits": smollm2.every_type} if support.THOROUGH else {}),
        }
        wanted = sys.argv[1:]  # parts of names; none: all
        return support.run({name: check for name, check in checks.items()
                            if not wanted or any(part in name for part in wanted)})


if __name__ == "__main__":
    sys.exit(main())
