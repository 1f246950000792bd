"""lrqat perplexity and generate against transformers in float32 on SmolLM2-135M: the same file, transformers' own
tokenizer and model, windows cut here."""

import math

import sys

import support
from tests.support import ROOT, lrqat_json, main

torch, transformers = support.require("torch", "transformers")
try:
    MODEL = support.smollm2()
except support.Skipped as reason:
    print(f"skipped: {reason}")
    sys.exit(support.SKIPPED)
CONTEXT = 512
WINDOWS = 2
# Both sum float32 products in their own order: logits differ by about 1e-4, the mean of 1022 of them by less.
RELATIVE = 1e-4


def load():
    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL.parent, gguf_file=MODEL.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL.parent, gguf_file=MODEL.name, dtype=torch.float32)
    return tokenizer, model.eval()


def text_of(folder):
    """About 1150 tokens of the novels."""
    path = folder / "novels.txt"
    path.write_text((ROOT / "data" / "novels.txt").read_text()[:4750])
    return path


@torch.no_grad()
def expected_nll(model, ids):
    windows = torch.tensor(ids[: WINDOWS * CONTEXT]).view(WINDOWS, CONTEXT)
    losses = []
    for window in windows:
        log_p = model(window[None]).logits[0].double().log_softmax(-1)
        losses.append(-log_p[:-1].gather(1, window[1:, None]))
    return torch.cat(losses).mean().item()


def perplexity_and_greedy_text_equal(folder):
    tokenizer, model = load()
    text = text_of(folder)
    ids = tokenizer(text.read_text())["input_ids"]
    found = lrqat_json("perplexity", "--model", MODEL, "--data", text, "--context", CONTEXT, "--max-windows", WINDOWS)
    expected = math.exp(expected_nll(model, ids))
    print(f"perplexity {found['perplexity']}, transformers {expected}")
    assert found["tokens"] == WINDOWS * (CONTEXT - 1), found
    assert abs(found["perplexity"] / expected - 1) < RELATIVE
    shifted = math.exp(expected_nll(model, ids[1:]))  # the control: windows one token later are told apart
    assert abs(found["perplexity"] / shifted - 1) > RELATIVE
    greedy_text_equals(tokenizer, model)


@torch.no_grad()
def greedy_text_equals(tokenizer, model):
    prompt = "The old house stood at the end of the lane, and"
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    expected = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
    found = lrqat_json("generate", "--model", MODEL, "--prompt", prompt, "--max-tokens", 24)
    assert found["tokens"] == expected[0, ids.shape[1]:].tolist(), (found, tokenizer.decode(expected[0]))


if __name__ == "__main__":
    main([perplexity_and_greedy_text_equal])
