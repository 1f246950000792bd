"""Quantized activations and KV cache against transformers: the same integers in a Llama of theirs, with hooks written
here from docs/method.md section 9, give the perplexity that lrqat gives."""

import sys
import tempfile
from pathlib import Path

import converted as converted_folder
import support
from support import ROOT, lrqat

torch, transformers = support.require("torch", "transformers")

SCORE_BITS = 8
CONTEXT, TEXTS = 8, 15
# Sums in another order move values by some 1e-7. Where one of them lies that near to a tie it becomes another code, and
# everything behind it changes a little. Most texts of eight tokens meet no such tie: their log-likelihoods agree to
# float32 sums, while a point that is left out changes every one (the controls). So medians over texts are compared.
TOLERANCE = 5e-6


def fake_quantize(x, bits):
    """Each vector along the last dimension on its own grid; the zero point is not rounded."""
    low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
    scale = ((high - low) / (2**bits - 1)).clamp_min(1e-8)
    zero = -low / scale
    return (torch.clamp(torch.round(x / scale) + zero, 0, 2**bits - 1) - zero) * scale


def tiny_model(folder):
    """The golden tiny Llama with a tokenizer of bytes."""
    sys.path.insert(0, str(ROOT))
    from tests.support import tiny_model as make
    return make(folder)


def hook(model, activation_bits, kv_bits):
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj, mlp.gate_proj, mlp.up_proj,
                       mlp.down_proj):
            linear.register_forward_pre_hook(lambda _, inputs: (fake_quantize(inputs[0], activation_bits),))
        for linear in (attention.k_proj, attention.v_proj):
            linear.register_forward_hook(lambda _, inputs, output: fake_quantize(output, kv_bits))


def their_model(config, values):
    plain = {key: value for key, value in config.items() if key != "quantization_config"}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**plain)).eval()
    missing, unexpected = model.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()},
                                                strict=False)
    assert not unexpected and not [name for name in missing if "rotary" not in name], (missing, unexpected)
    return model


def their_nlls(model, rows, rotated_bits):
    """Mean negative log-likelihood of each row's tokens but its first; rotated_bits: of queries and rotated keys."""
    llama = transformers.models.llama.modeling_llama
    rotate = llama.apply_rotary_pos_emb
    if rotated_bits is not None:
        llama.apply_rotary_pos_emb = lambda *arguments, **named: tuple(
            fake_quantize(x, rotated_bits) for x in rotate(*arguments, **named))
    try:
        with torch.no_grad():
            logits = model(rows).logits[:, :-1].double()
    finally:
        llama.apply_rotary_pos_emb = rotate
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none").mean(1)


def check(activation_bits, kv_bits):
    def compare():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            model = tiny_model(folder)
            made = support.converted(model, folder, "--activation-bits", activation_bits, "--kv-bits", kv_bits)
            book = (ROOT / "data" / "novels.txt").read_text()
            texts = [book[1000 * i:1000 * i + 40] for i in range(TEXTS)]
            rows = [tokens[:CONTEXT] for tokens in support.tokenize(made, texts)]
            ours = []
            for content in texts:
                text = folder / "text.txt"
                text.write_text(content)
                measured = lrqat("perplexity", "--model", made, "--data", text, "--context", CONTEXT, "--max-windows", 1)
                assert measured["tokens"] == CONTEXT - 1, measured
                ours.append(measured["nll"])
            config, values, _ = converted_folder.read(made)
            theirs = their_model(config, values)
            ours, rows = torch.tensor(ours, dtype=torch.float64), torch.tensor(rows)
            hook(theirs, activation_bits, kv_bits)
            found = (their_nlls(theirs, rows, SCORE_BITS) - ours).abs().median().item()
            assert found < TOLERANCE, f"log-likelihoods differ by {found}"
            other = their_model(config, values)
            controls = [their_nlls(theirs, rows, None), their_nlls(other, rows, SCORE_BITS)]  # a point left out, or seven
            hook(other, activation_bits, 12 - kv_bits)
            controls.append(their_nlls(other, rows, SCORE_BITS))
            least = min((nlls - ours).abs().median().item() for nlls in controls)
            assert least > 10 * TOLERANCE, f"a control differs by {least} only"
            return f"median difference {found:.1e}; of the nearest control {least:.1e}"
    return compare


sys.exit(support.run({"W4A8KV8": check(8, 8), "W4A8KV4": check(8, 4), "W4A4KV4": check(4, 4)}))
