"""Multimodal checkpoints as transformers saves them: the text part's log-probabilities and gradients against those of
transformers' own model, fed with text alone. The layout of older versions (language_model.model.…) and of newer ones
(model.language_model.…) both, and what a text_config leaves out against the defaults of its class."""

import json
import sys
import tempfile
from pathlib import Path

import support

np, torch, transformers, safetensors_torch = support.require("numpy", "torch", "transformers", "safetensors.torch")
import families_test  # noqa: E402

TOLERANCE = families_test.TOLERANCE
TEXT = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 96, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64, "pad_token_id": None, "bos_token_id": 1,
        "eos_token_id": 2, "initializer_range": 0.25}
EYE = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
       "patch_size": 14}
# model_type: (settings of the whole, of the text part, of the vision part)
MODELS = {
    "gemma3": ({"mm_tokens_per_image": 4, "image_token_index": 90, "boi_token_index": 91, "eoi_token_index": 92},
               {"sliding_window": 8, "query_pre_attn_scalar": 16,
                "layer_types": ["sliding_attention", "full_attention"]}, {}),
    "mistral3": ({"image_token_index": 90}, {"model_type": "mistral", "sliding_window": None}, {"model_type": "pixtral"}),
    "llava": ({"image_token_index": 90}, {"model_type": "llama", "tie_word_embeddings": False},
              {"model_type": "clip_vision_model"}),
    "llava_next": ({"image_token_index": 90}, {"model_type": "mistral", "sliding_window": None},
                   {"model_type": "clip_vision_model"}),
    "idefics3": ({"image_token_id": 90, "tie_word_embeddings": False}, {"model_type": "llama", "tie_word_embeddings": False},
                 {}),
    "smolvlm": ({"image_token_id": 90, "tie_word_embeddings": True}, {"model_type": "llama", "tie_word_embeddings": True},
                {}),
}


def build(name):
    whole, text, vision = MODELS[name]
    config = transformers.AutoConfig.for_model(name, text_config={**TEXT, **text}, vision_config={**EYE, **vision}, **whole)
    torch.manual_seed(5)
    model = transformers.AutoModelForImageTextToText.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "norm" in parameter_name:
                parameter.normal_(0 if name == "gemma3" else 1, 0.2)
    return model


def other_layout(folder):
    """The names that transformers has in memory, where it saves under the older ones."""
    path = folder / "model.safetensors"
    tensors = safetensors_torch.load_file(path)
    renamed = {}
    for name, tensor in tensors.items():
        if name.startswith("language_model.model."):
            name = name.replace("language_model.model.", "model.language_model.", 1)
        elif name.startswith("language_model.lm_head."):
            name = name.removeprefix("language_model.")
        elif not name.startswith(("model.", "lm_head.")):
            name = "model." + name
        renamed[name] = tensor
    safetensors_torch.save_file(renamed, path, metadata={"format": "pt"})
    return renamed.keys() != tensors.keys()


def text_part(work, name):
    folder = work / name
    model = build(name)
    expected = families_test.theirs(model)
    model.save_pretrained(folder)
    found = families_test.differences(families_test.ours([folder], work)[0], expected)
    assert max(found) < TOLERANCE, (name, found)
    if other_layout(folder):
        again = families_test.differences(families_test.ours([folder], work)[0], expected)
        assert again == found, (name, again, found)
    # The control: another text part.
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["rms_norm_eps"] = 0.1
    (folder / "config.json").write_text(json.dumps(config))
    changed = families_test.differences(families_test.ours([folder], work)[0], expected)
    assert min(changed) > 10 * TOLERANCE, (name, changed)
    return found


def every_model(work):
    largest = np.max([text_part(work, name) for name in MODELS], axis=0)
    return f"{len(MODELS)} models, log-probabilities within {largest[0]:.1e}, gradients within {largest[1]:.1e}"


def defaults(work):
    """A text_config of nothing but its type asks for the shapes of transformers' class: a tensor of one number too many
    is refused with what was expected."""
    folder = work / "defaults"
    folder.mkdir()
    for text, whole in {"gemma3_text": "gemma3", "mistral": "mistral3", "llama": "llava", "qwen2": "llava"}.items():
        class_default = transformers.AutoConfig.for_model(text)
        (folder / "config.json").write_text(json.dumps({"model_type": whole, "tie_word_embeddings": True,
                                                        "text_config": {"model_type": text}}))
        safetensors_torch.save_file({"model.embed_tokens.weight": torch.zeros(1)}, folder / "model.safetensors")
        said = support.lrqat_error("perplexity", "--model", folder, "--data", support.ROOT / "data" / "novels.txt")
        assert f"[{class_default.vocab_size}, {class_default.hidden_size}]" in said, (text, said)


def main():
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        return support.run({"every model": lambda: every_model(work), "defaults": lambda: defaults(work)})


if __name__ == "__main__":
    sys.exit(main())
