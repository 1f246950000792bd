"""Tokenizers saved without tokenizer.json, and tokens added beside one: ids of random strings, ours against transformers.

Each kind is a folder as its class saves it (vocab.json + merges.txt, or SentencePiece's tokenizer.model, and
tokenizer_config.json, added_tokens.json, special_tokens_map.json); the other side is the class of transformers on the same
folder. The SentencePiece classes are given pieces and merges, as they take them out of the model with the library
sentencepiece, which need not be installed.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import support

tokenizers, transformers, gguf = support.require("tokenizers", "transformers", "gguf")
import tokenizers_test as kinds  # noqa: E402

kinds.STRINGS = 10_000
CHAT = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def added(content, special=True, **options):
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
            "special": special, **options}


def write(folder, **files):
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False))


def byte_level_files(folder):
    """GPT-2's vocabulary without its one special token."""
    vocab, merges = kinds.byte_level_vocabulary()
    vocab = {piece: i for piece, i in vocab.items() if piece != "<|endoftext|>"}
    write(folder, vocab=vocab)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(" ".join(merge) + "\n" for merge in merges))
    return len(vocab)


def byte_level_class(name, with_decoder=True, specials=CHAT, **config):
    def kind(folder):
        size = byte_level_files(folder)
        tokens = {content: size + i for i, content in enumerate(specials)}
        write(folder, added_tokens=tokens)
        config.setdefault("eos_token", specials[-1])
        config.setdefault("unk_token", specials[0])
        if with_decoder:
            config["added_tokens_decoder"] = {str(i): added(content) for content, i in tokens.items()}
        else:
            write(folder, special_tokens_map={"eos_token": config["eos_token"], "additional_special_tokens": specials[1:2]})
        write(folder, tokenizer_config={"tokenizer_class": name, **config})
        return folder, getattr(transformers, name).from_pretrained(folder), specials
    return kind


def added_options(folder):
    """Tokens that take the white space beside them, that stand alone, that are looked for in composed text."""
    size = byte_level_files(folder)
    tokens = [added("<|endoftext|>"), added("<left>", lstrip=True), added("<right>", False, rstrip=True),
              added("tool-call", False, single_word=True), added("caf\u00e9", False, normalized=True)]
    write(folder, tokenizer_config={
        "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
        "added_tokens_decoder": {str(size + i): token for i, token in enumerate(tokens)}})
    theirs = transformers.Qwen2Tokenizer.from_pretrained(folder)
    return folder, theirs, ["<left>", " <left> ", "<right>", " <right> ", "tool-call", "caf\u00e9", "cafe\u0301"]


def by_family(folder):
    """No class in tokenizer_config.json: config.json's model_type says it."""
    size = byte_level_files(folder)
    write(folder, config={"model_type": "qwen2"}, added_tokens={"<|im_end|>": size},
          tokenizer_config={"eos_token": "<|im_end|>", "unk_token": "<|im_end|>", "pad_token": "<|im_end|>"})
    return folder, transformers.Qwen2Tokenizer.from_pretrained(folder), ["<|im_end|>"]


def beside_json(folder):
    """tokenizer.json, and a configuration that adds tokens and a padding token that no file numbers."""
    theirs, _ = kinds.gpt2_json()
    path = kinds.save(theirs, folder, "beside")
    size = theirs.get_vocab_size()
    write(path.parent, config={"model_type": "llama"}, tokenizer_config={
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "pad_token": "[PAD]",
        "added_tokens_decoder": {str(size): added("<|user|>", rstrip=True), str(size + 1): added("<|end|>"),
                                 str(size + 2): added("tool", False, normalized=True)}})
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent)
    return path.parent, theirs, ["<|user|>", " <|user|> ", "<|end|>", "tool", "[PAD]"]


def sentencepiece_class(name, build, **config):
    def kind(folder):
        pieces = [piece for piece, _, _ in kinds.pieces_of(kinds.DATA / "mistral" / "v1.model")]
        shutil.copyfile(kinds.DATA / "mistral" / "v1.model", folder / "tokenizer.model")
        decoder = {len(pieces): added("<|im_start|>"), len(pieces) + 1: added("<|im_end|>", False, lstrip=True)}
        write(folder, tokenizer_config={"tokenizer_class": name, "add_bos_token": True, "eos_token": "<|im_end|>", **config,
                                        "added_tokens_decoder": {str(i): token for i, token in decoder.items()}})
        vocab = {piece: i for i, piece in enumerate(pieces)}
        merges = transformers.tokenization_utils_base.generate_merges(vocab)
        theirs = build(vocab=vocab, merges=merges, eos_token="<|im_end|>", add_bos_token=True, **config, added_tokens_decoder={
            i: tokenizers.AddedToken(**token) for i, token in decoder.items()})
        return folder, theirs, ["<|im_start|>", "<|im_end|>", " <|im_end|>", "<s>"]
    return kind


GEMMA = {"bos_token": "<s>", "unk_token": "<unk>", "pad_token": "<unk>", "mask_token": "<unk>"}
KINDS = {
    "GPT2Tokenizer": byte_level_class("GPT2Tokenizer"),
    "GPT2Tokenizer, a space in front": byte_level_class("GPT2Tokenizer", add_prefix_space=True),
    "GPT2Tokenizer, special_tokens_map": byte_level_class("GPT2Tokenizer", with_decoder=False, bos_token="<|endoftext|>"),
    "CodeGenTokenizer": byte_level_class("CodeGenTokenizer"),
    "GPTNeoXTokenizer": byte_level_class("GPTNeoXTokenizer", pad_token="<|endoftext|>"),
    "CohereTokenizer": byte_level_class("CohereTokenizer", add_bos_token=True, **dict.fromkeys(
        ["bos_token", "pad_token", "cls_token", "sep_token", "mask_token"], "<|endoftext|>")),
    "Qwen2Tokenizer": byte_level_class("Qwen2Tokenizer"),
    "Qwen2Tokenizer, added_tokens.json": byte_level_class("Qwen2Tokenizer", with_decoder=False, pad_token="<|endoftext|>"),
    "options of added tokens": added_options,
    "class by model_type": by_family,
    "beside tokenizer.json": beside_json,
    "LlamaTokenizer": sentencepiece_class("LlamaTokenizer", transformers.LlamaTokenizer, legacy=False),
    "LlamaTokenizer, legacy": sentencepiece_class("LlamaTokenizer", transformers.LlamaTokenizer, legacy=True),
    "LlamaTokenizer, no space in front": sentencepiece_class("LlamaTokenizer", transformers.LlamaTokenizer,
                                                             add_prefix_space=False),
    "GemmaTokenizer": sentencepiece_class("GemmaTokenizer", transformers.GemmaTokenizer, **GEMMA),
}


def compare(name, parent):
    folder = Path(tempfile.mkdtemp(dir=parent))
    path, theirs, specials = KINDS[name](folder)
    kinds.KINDS[name] = lambda _: (path, theirs.backend_tokenizer, specials)
    said = kinds.compare(name, folder)
    texts = ["the thing", " two  spaces", specials[0] + "user\nthe " + specials[-1]]
    ours = support.tokenize(path, texts, special=True)  # with what stands around a text
    assert ours == [theirs(text)["input_ids"] for text in texts], (ours, [theirs(text)["input_ids"] for text in texts])
    return said


def main():
    names = [name for name in KINDS if not sys.argv[1:] or any(part in name for part in sys.argv[1:])]
    with tempfile.TemporaryDirectory() as folder:
        return support.run({name: lambda name=name: compare(name, folder) for name in names})


if __name__ == "__main__":
    sys.exit(main())
