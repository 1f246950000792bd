"""What every character of Unicode is: ours against Hugging Face `tokenizers`, no difference. Without LRQAT_THOROUGH=1: every
character of the first two planes, and of the others those where a category begins or ends and every 61st.

Each kind is a normalizer, pre-tokenizer or property of regular expressions. The vocabulary is the 256 bytes, so the ids
show all that a normalizer did; a pre-tokenizer's cuts show by the mark that Metaspace puts in front of each part.
"""

import sys
import tempfile
import unicodedata
from pathlib import Path

import support

tokenizers = support.require("tokenizers")
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers  # noqa: E402



def looked_at(code):
    if 0xD800 <= code < 0xE000:
        return False
    if support.THOROUGH or code < 0x20000 or code % 61 == 0 or code == 0x10FFFF:
        return True
    return len({unicodedata.category(chr(near)) for near in (code - 1, code, code + 1)}) > 1


CHARACTERS = [chr(code) for code in range(0x110000) if looked_at(code)]
A_LINE = 64
CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co").split()
CAPITALS = [chr(code) for code in [*range(0x41, 0x5B), *range(0xC0, 0xD7)]]  # in category Lu, which is replaced first
SCRIPTS = ("Latin Cyrillic Greek Arabic Hebrew Devanagari Kannada Lao Thai Balinese Khojki Ahom Egyptian_Hieroglyphs "
           "Han Hiragana Katakana Hangul Khitan_Small_Script").split()
# Newer characters whose script has no older one of their category.
WITHOUT_SCRIPT = [*range(0x10EFC, 0x10F00), *range(0x11B00, 0x11B0A), 0x13440, *range(0x13447, 0x13456),
                  *range(0x1E030, 0x1E06E), 0x1E08F]
MARKS = [chr(0x2460 + i) for i in range(len(SCRIPTS))]  # of no script


def tokenizer(normalizer=None, pre=(), added=()):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    if normalizer is not None:
        made.normalizer = normalizer
    mark = [pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=False)] if pre else []
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [*pre, *mark, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    made.add_tokens(list(added))
    return made


def replaced(expressions, by):
    return normalizers.Sequence([normalizers.Replace(Regex(expression), content)
                                 for expression, content in zip(expressions, by)])


def alone(characters):
    """A line feed has no property in common with what is asked for, and combines with nothing."""
    return "".join("\n" + character for character in characters)


def within_words(characters):
    return "".join("\na" + character + "a" for character in characters)


def beside_words(characters):
    return "".join("\nword" + character + "\n" + character + "word" for character in characters)


def alone_with_script(characters):
    return alone(character for character in characters if ord(character) not in WITHOUT_SCRIPT)


def beside_marks(characters):
    """Marks of classes 202, 220 and 230 around it: what is composed, and in which order they stand."""
    return "".join("\ne\u0301" + character + "\u0323\u0327\u0301" for character in characters)


KINDS = {
    **{f"{form}{name}": (tokenizer(getattr(normalizers, form)()), line)
       for form in ("NFC", "NFD", "NFKC", "NFKD") for name, line in (("", alone), (" beside marks", beside_marks))},
    "Lowercase": (tokenizer(normalizers.Lowercase()), alone),
    "Nmt": (tokenizer(normalizers.Nmt()), alone),
    "StripAccents": (tokenizer(normalizers.StripAccents()), alone),
    "Digits": (tokenizer(pre=[pre_tokenizers.Digits(individual_digits=True)]), alone),
    "Punctuation": (tokenizer(pre=[pre_tokenizers.Punctuation()]), alone),
    "Whitespace": (tokenizer(pre=[pre_tokenizers.Whitespace()]), within_words),
    "WhitespaceSplit": (tokenizer(pre=[pre_tokenizers.WhitespaceSplit()]), within_words),
    "single_word": (tokenizer(added=[AddedToken("word", single_word=True)]), beside_words),
    "general categories": (tokenizer(replaced([rf"\p{{{name}}}" for name in CATEGORIES], CAPITALS)), alone),
    "scripts": (tokenizer(replaced([rf"\p{{{name}}}" for name in SCRIPTS], MARKS)), alone_with_script),
    **{expression: (tokenizer(normalizers.Replace(Regex(expression), "\u00ab\u00bb")), alone)
       for expression in (r"\w", r"\W", r"\s", r"\d", r"\b", r"[\w]", r"\p{Uppercase}", r"\p{Ideographic}",
                          r"\p{Emoji}", r"\p{White_Space}")},
}


def differing(path, theirs, texts):
    """Of `texts`, those with other ids, and how many ids there are."""
    expected = [encoding.ids for encoding in theirs.encode_batch(texts, add_special_tokens=False)]
    found = support.tokenize(path, texts)
    assert len(found) == len(texts)
    return [text for text, a, b in zip(texts, found, expected) if a != b], sum(map(len, found))


def compare(name, folder):
    theirs, line = KINDS[name]
    path = folder / "tokenizer.json"
    theirs.save(str(path))
    lines = [CHARACTERS[i:i + A_LINE] for i in range(0, len(CHARACTERS), A_LINE)]
    wrong, ids = differing(path, theirs, [line(characters) for characters in lines])
    if wrong:
        wrong, _ = differing(path, theirs, [line(c) for characters in lines if line(characters) in wrong for c in characters])
        raise AssertionError(f"{len(wrong)} characters differ, as {wrong[:5]!a}")
    return f"{len(CHARACTERS)} characters, {ids} ids"


def differences_are_seen(folder):
    """The control: what another kind makes of every character is not the same."""
    path = folder / "tokenizer.json"
    for one, other in (("NFC", "NFKC"), ("NFD", "NFC"), (r"\w", r"\W"), ("Digits", "Punctuation")):
        KINDS[one][0].save(str(path))
        wrong, _ = differing(path, KINDS[other][0], [alone(CHARACTERS[i:i + 1024]) for i in range(0, 0x4000, 1024)])
        assert wrong, f"{one} and {other} give the same ids"


def main():
    with tempfile.TemporaryDirectory() as folder:
        checks = {name: lambda name=name: compare(name, Path(folder)) for name in KINDS
                  if not sys.argv[1:] or any(part in name for part in sys.argv[1:])}
        return support.run({**checks, "differences are seen": lambda: differences_are_seen(Path(folder))})


if __name__ == "__main__":
    sys.exit(main())
