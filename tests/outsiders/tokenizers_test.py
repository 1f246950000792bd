"""Ids of random Unicode strings, ours against Hugging Face `tokenizers`, of every tokenizer kind: no difference.

Each kind is a file that lrqat reads (tokenizer.json, tekken.json, SentencePiece's tokenizer.model, a GGUF vocabulary,
GPT-2's own two files) and the tokenizers.Tokenizer that means the same. Vocabularies are those of tests/data/text and of
SmolLM2; where a family's own is not free, its expressions run over another vocabulary.
LRQAT_TOKENIZER_STRINGS: how many strings (default 20000, with LRQAT_THOROUGH=1 100000).
"""

import base64
import functools
import json
import os
import random
import sys
import tempfile
from pathlib import Path

import support

tokenizers, gguf = support.require("tokenizers", "gguf")
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers  # noqa: E402

DATA = support.ROOT / "tests" / "data" / "text"
STRINGS = int(os.environ.get("LRQAT_TOKENIZER_STRINGS", 100_000 if support.THOROUGH else 20_000))
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
REST = r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|{REST}"
CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTION}|"
         + REST.replace(r"\p{N}|", r"\p{N}{1,3}|", 1))

# ---- strings

RANGES = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE80), (0x1100, 0x1200),
          (0x1E00, 0x2070), (0x2070, 0x2800), (0x2E80, 0x3100), (0x4E00, 0x9FFF), (0xAC00, 0xD7A4), (0xE000, 0xE010),
          (0xF900, 0x10000), (0x10000, 0x10400), (0x1D400, 0x1D800), (0x1F300, 0x1FB00), (0x20000, 0x20100),
          (0x10D40, 0x10D90), (0x11F00, 0x11F60), (0x2EBF0, 0x2EE60), (0x31350, 0x323B0),  # newer than PCRE2's Unicode
          (0xE0000, 0xE0200)]
SPACES = [" ", "  ", "   ", "\n", "\r\n", "\t", "\n\n", "\r", "\v", "\f", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028",
          "\u0085", "\u180e", "\ufeff"]
PIECES = ["'s", "'S", "'re", "'LL", "don't", "\u2019s", "the", "of", "and", "Hello", "WORLD", "camelCase", "snake_case",
          "http://a.b/c?d=e", "123", "4567", "3.14", "\u00bd", "\u00b2", "\u0663", "\u4e09", "\u2167", "...", "--", "//", "?!",
          "e\u0301", "\u00e9", "\u1100\u1161\u11a8", "\u212b", "\ufb01", "\U0001f468\u200d\U0001f469", "\u2581", "\u2581the",
          "<0x41>", "\u0120", "\x00", "\x1f", "\x7f", "\ufffd", "\ufffe", "\u0130", "\u00df", "ZZZ", "aaaaaaa"]


def strings(seed, specials):
    """Deterministic; a character more or less of everything that tokenizers treat in ways of their own."""
    rng = random.Random(seed)
    words = [word for word in (support.ROOT / "data" / "encyclopedia.txt").read_text()[:60_000].split() if len(word) < 20]
    for _ in range(STRINGS):
        parts = []
        for _ in range(rng.randint(0, 9)):
            kind = rng.random()
            if kind < 0.25:
                parts.append(rng.choice(words))
            elif kind < 0.45:
                parts.append(rng.choice(SPACES))
            elif kind < 0.65:
                parts.append(rng.choice(PIECES))
            elif kind < 0.68 and specials:
                parts.append(rng.choice(specials))
            elif kind < 0.95:
                begin, end = rng.choice(RANGES)
                parts.append("".join(chr(rng.randrange(begin, end)) for _ in range(rng.randint(1, 4))))
            else:
                parts.append(chr(rng.choice([rng.randrange(0, 0xD800), rng.randrange(0xE000, 0x110000)])))
            if rng.random() < 0.3:
                parts.append(" ")
        yield "".join(parts)


# ---- kinds: (file for lrqat, tokenizers.Tokenizer, special tokens that are written into strings)

def byte_level_vocabulary():
    vocab = json.loads((DATA / "encoder.json").read_text())
    lines = (DATA / "vocab.bpe").read_text().splitlines()
    return vocab, [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]


def save(tokenizer, folder, name):
    path = folder / name / "tokenizer.json"
    path.parent.mkdir()
    tokenizer.save(str(path))
    return path


def byte_level(pre, vocab=None, merges=None, ignore_merges=False, normalizer=None, added=()):
    if vocab is None:
        vocab, merges = byte_level_vocabulary()
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in added])
    return tokenizer


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def gpt2_files(folder):
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), added=["<|endoftext|>"])
    return DATA / "encoder.json", tokenizer, ["<|endoftext|>"]


def byte_level_json(name, make):
    def kind(folder):
        tokenizer, specials = make()
        return save(tokenizer, folder, name), tokenizer, specials
    return kind


def gpt2_json():
    return byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), added=["<|endoftext|>"]), ["<|endoftext|>"]


def gpt2_with_prefix():
    return byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)), []


def smollm():
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                      pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return byte_level(digits, added=["<|im_start|>", "<|im_end|>"]), ["<|im_start|>", "<|im_end|>"]


def llama3():
    specials = ["<|begin_of_text|>", "<|eot_id|>"]
    return byte_level(split_then_bytes(LLAMA3), ignore_merges=True, added=specials), specials


def qwen2():
    specials = ["<|im_start|>", "<|endoftext|>"]
    return byte_level(split_then_bytes(QWEN2), normalizer=normalizers.NFC(), added=specials), specials


def gpt4o():
    return byte_level(split_then_bytes(GPT4O), added=["<|endoftext|>"]), ["<|endoftext|>"]


def vocabulary_in(path):
    fields = gguf.GGUFReader(path).fields
    return {key: fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "merges", "token_type")}


def gguf_vocabulary(path, pre):
    """A GGUF file's own vocabulary, and the same as tokenizers has it."""
    def kind(folder):
        found = vocabulary_in(path())
        vocab = {token: i for i, token in enumerate(found["tokens"])}
        tokenizer = byte_level(pre(), vocab, [tuple(merge.split(" ")) for merge in found["merges"]])
        control = [token for token, kind in zip(found["tokens"], found["token_type"]) if kind in (2, 3)]
        user = [token for token, kind in zip(found["tokens"], found["token_type"]) if kind == 4]
        tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in control])
        tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in user])
        return path(), tokenizer, control[:20] + user[:20]
    return kind


def tekken(folder):
    """Tokens by rank: GPT-2's, whose ids are in the order in which they were merged."""
    vocab, _ = byte_level_vocabulary()
    character = {c: byte for byte, c in byte_characters().items()}
    ranked = [bytes(character[c] for c in token) for token, _ in sorted(vocab.items(), key=lambda item: item[1])
              if token != "<|endoftext|>"]
    path = folder / "tekken.json"
    path.write_text(json.dumps({
        "config": {"pattern": TEKKEN, "num_vocab_tokens": len(ranked), "default_vocab_size": 30_000 + 1000,
                   "default_num_special_tokens": 1000, "version": "v3"},
        "vocab": [{"rank": i, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
                  for i, token in enumerate(ranked)]}))
    ranked = ranked[:30_000]  # what default_vocab_size leaves
    rank = {token: i for i, token in enumerate(ranked)}
    spelled = ["".join(byte_characters()[byte] for byte in token) for token in ranked]
    merges = [(spelled[left], spelled[right]) for token in ranked for left, right in sorted(
        (rank[token[:at]], rank[token[at:]]) for at in range(1, len(token)) if token[:at] in rank and token[at:] in rank)]
    specials = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
                "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
                "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"]
    specials += [f"<SPECIAL_{i}>" for i in range(len(specials), 1000)]
    vocab = {**{token: i for i, token in enumerate(specials)}, **{token: 1000 + i for i, token in enumerate(spelled)}}
    tokenizer = byte_level(split_then_bytes(TEKKEN), vocab, merges, ignore_merges=True, added=specials)
    return path, tokenizer, ["[INST]", "[/INST]", "<s>", "<SPECIAL_999>"]


@functools.cache
def byte_characters():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(0x100 + i) for i, byte in enumerate(others)}}


# ---- SentencePiece models: pieces, scores and types from the protobuf, merges as transformers derives them

def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields_of(data):
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if size is None:
                size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        yield tag >> 3, value


def pieces_of(path):
    import struct
    pieces = []
    for number, value in fields_of(path.read_bytes()):
        if number == 1:
            piece = dict(fields_of(value))
            score = struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0
            pieces.append((piece[1].decode(), score, piece.get(3, 1)))
    return pieces


def merges_of(pieces):
    vocab = {piece: i for i, (piece, _, kind) in enumerate(pieces) if kind == 1}
    merges = []
    for piece, score, kind in pieces:
        if kind != 1:
            continue
        cuts = sorted((vocab[piece[:at]], vocab[piece[at:]]) for at in range(1, len(piece))
                      if piece[:at] in vocab and piece[at:] in vocab)
        merges += [(-score, left, right) for left, right in cuts]
    merges.sort(key=lambda merge: merge[0])
    return [(pieces[left][0], pieces[right][0]) for _, left, right in merges]


def sentencepiece_bpe(path):
    pieces = pieces_of(path)
    fallback = any(kind == 6 for _, _, kind in pieces)
    tokenizer = Tokenizer(models.BPE(vocab={piece: i for i, (piece, _, _) in enumerate(pieces)}, merges=merges_of(pieces),
                                     unk_token="<unk>", fuse_unk=True, byte_fallback=fallback))
    specials = [piece for piece, _, kind in pieces if kind in (2, 3, 4)]
    return tokenizer, specials


def sentencepiece_model(name):
    """tokenizer.model itself; Hugging Face's form of it puts the mark in front in the normalizer."""
    def kind(folder):
        path = DATA / name
        tokenizer, specials = sentencepiece_bpe(path)
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in specials])
        return path, tokenizer, specials[:30]
    return kind


def collapsing_model(name):
    """SentencePiece's remove_extra_whitespaces: runs of spaces are one, none at the ends."""
    def kind(folder):
        path, tokenizer, specials = sentencepiece_model(name)(folder)
        tokenizer.normalizer = normalizers.Sequence([
            normalizers.Replace(Regex(r"\A +"), ""), normalizers.Replace(Regex(" +"), " "),
            normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581"), normalizers.Replace(Regex("\u2581+\\z"), "")])
        return path, tokenizer, specials
    return kind


def write_gguf(path, model, tokens, types, pre=None, merges=None, scores=None):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if pre:
        writer.add_tokenizer_pre(pre)
    if merges:
        writer.add_token_merges(merges)
    if scores:
        writer.add_token_scores(scores)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def gpt2_gguf(folder):
    vocab, merges = byte_level_vocabulary()
    tokens = [token for token, _ in sorted(vocab.items(), key=lambda item: item[1])]
    path = write_gguf(folder / "gpt2.gguf", "gpt2", tokens, [3 if token == "<|endoftext|>" else 1 for token in tokens], "gpt-2",
                      [" ".join(merge) for merge in merges])
    return path, gpt2_json()[0], ["<|endoftext|>"]


def sentencepiece_gguf(folder):
    pieces = pieces_of(DATA / "mistral" / "v3.model")
    path = write_gguf(folder / "v3.gguf", "llama", [piece for piece, _, _ in pieces], [kind for _, _, kind in pieces],
                      scores=[score for _, score, _ in pieces])
    _, tokenizer, specials = sentencepiece_model("mistral/v3.model")(folder)
    return path, tokenizer, specials


def legacy_json(folder):
    tokenizer, specials = sentencepiece_bpe(DATA / "mistral" / "v3.model")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in specials])
    return save(tokenizer, folder, "legacy"), tokenizer, specials[:30]


def metaspace_json(name, **options):
    """Newer Llama and Mistral files, and Gemma's ("never" and a Replace)."""
    def kind(folder):
        tokenizer, specials = sentencepiece_bpe(DATA / "mistral" / "v3.model")
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", **options)
        tokenizer.decoder = decoders.Metaspace(replacement="\u2581", **options)
        tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in specials[:200]])
        tokenizer.add_tokens([AddedToken("<tool>", lstrip=True, rstrip=True), AddedToken("word", single_word=True)])
        return save(tokenizer, folder, name), tokenizer, specials[:20] + ["<tool>", "word", " <tool> "]
    return kind


def gemma_json(folder):
    tokenizer, specials = sentencepiece_bpe(DATA / "mistral" / "v3.model")
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in specials])
    tokenizer.add_tokens([AddedToken("\n\n", normalized=False), AddedToken("\u2581\u2581", normalized=False)])
    return save(tokenizer, folder, "gemma"), tokenizer, specials[:20] + ["\n\n", "\u2581\u2581"]


def unigram_vocabulary():
    """The pieces of Mistral's SentencePiece model with falling scores; some are taken out, so that there are unknown ones."""
    pieces = pieces_of(DATA / "mistral" / "v1.model")
    rng = random.Random(5)
    return [(piece, 0.0 if kind != 1 else -rng.uniform(1, 12) - 0.0001 * i) for i, (piece, _, kind) in enumerate(pieces)
            if kind != 1 or len(piece) > 1 or piece.isalpha() or piece == "\u2581"]


def unigram_json(name, byte_fallback, normalizer=None, **metaspace):
    def kind(folder):
        vocab = unigram_vocabulary()
        if not byte_fallback:
            vocab = [(piece, score) for piece, score in vocab if not piece.startswith("<0x")]
        tokenizer = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=byte_fallback))
        if normalizer is not None:
            tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", **metaspace)
        tokenizer.decoder = decoders.Metaspace(replacement="\u2581", **metaspace)
        tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in ("<s>", "</s>", "<mask>")])
        return save(tokenizer, folder, name), tokenizer, ["<s>", "</s>", "<mask>", "<unk>"]
    return kind


KINDS = {
    "GPT-2's two files": gpt2_files,
    "GPT-2, tokenizer.json": byte_level_json("gpt2", gpt2_json),
    "byte level with a space in front": byte_level_json("prefixed", gpt2_with_prefix),
    "SmolLM's digits": byte_level_json("smollm", smollm),
    "Llama 3": byte_level_json("llama3", llama3),
    "Qwen2": byte_level_json("qwen2", qwen2),
    "GPT-4o (Phi-4-mini)": byte_level_json("gpt4o", gpt4o),
    "tekken.json": tekken,
    "GPT-2, GGUF": gpt2_gguf,
    "GPT-NeoX, GGUF": gguf_vocabulary(lambda: DATA / "gpt-neox.gguf", lambda: pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "SmolLM2, GGUF": gguf_vocabulary(support.smollm2, lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])),
    "Mistral v1, tokenizer.model": sentencepiece_model("mistral/v1.model"),
    "Mistral v2, tokenizer.model": sentencepiece_model("mistral/v2.model"),
    "Mistral v3, tokenizer.model": sentencepiece_model("mistral/v3.model"),
    "Mistral v7, tokenizer.model": sentencepiece_model("mistral/v7.model"),
    "Baby Llama without bytes, tokenizer.model": collapsing_model("tok105.model"),
    "Mistral v3, GGUF": sentencepiece_gguf,
    "Llama 2, tokenizer.json": legacy_json,
    "Metaspace, first": metaspace_json("first", prepend_scheme="first", split=False),
    "Metaspace, always, split": metaspace_json("always", prepend_scheme="always", split=True),
    "Metaspace, never, split": metaspace_json("never", prepend_scheme="never", split=True),
    "Gemma's steps": gemma_json,
    "Unigram": unigram_json("unigram", False, prepend_scheme="always", split=True),
    "Unigram, bytes": unigram_json("unigram-bytes", True, prepend_scheme="first", split=False),
    "Unigram, normalised": unigram_json("unigram-nfkc", True, normalizers.Sequence([
        normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]), prepend_scheme="always", split=True),
}


def compare(name, folder):
    path, tokenizer, specials = KINDS[name](folder)
    texts = list(strings(name, specials))
    theirs = [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
    found = support.tokenize(path, texts)
    assert len(found) == len(theirs) == STRINGS, (len(found), len(theirs))
    differing = [i for i in range(STRINGS) if found[i] != theirs[i]]
    if differing:
        first = min(differing, key=lambda i: len(texts[i]))
        raise AssertionError(f"{len(differing)} of {STRINGS} differ, as {texts[first]!a}: {found[first]}, "
                             f"tokenizers {theirs[first]}")
    assert sum(map(len, found)) > STRINGS, "the strings have no text"
    # The control: one id more must be seen, and another kind's ids are others.
    assert found[:-1] + [found[-1] + [0]] != theirs
    return f"{sum(map(len, found))} ids"


def main():
    names = [name for name in KINDS if not sys.argv[1:] or any(part in name for part in sys.argv[1:])]
    with tempfile.TemporaryDirectory() as folder:
        return support.run({name: lambda name=name: compare(name, Path(folder)) for name in names})


if __name__ == "__main__":
    sys.exit(main())
