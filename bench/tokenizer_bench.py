"""Encoding speed on one thread beside Hugging Face `tokenizers`, lines of a text and the text as a whole, in alternating runs:

    python bench/tokenizer_bench.py [--rounds 3] [--text data/encyclopedia.txt]

Each kind is the same tokenizer in both programs (tests/outsiders/tokenizers_test.py makes it and holds their ids equal). A
ratio is ours over theirs, of the fastest passes; the requirement is 0.5. Prints one JSON document. Never part of the tests."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "outsiders")]
KINDS = ("GPT-2, tokenizer.json", "Llama 3", "Qwen2", "tekken.json", "SmolLM's digits", "Llama 2, tokenizer.json",
         "Metaspace, first", "Mistral v3, tokenizer.model")


def theirs(tokenizer, text, passes=3):
    lines = text.removesuffix("\n").split("\n")

    def fastest(work):
        best = float("inf")
        for _ in range(passes):
            begin = time.perf_counter()
            ids = work()
            best = min(best, time.perf_counter() - begin)
        return {"ids": ids, "bytes_per_second": len(text.encode()) / best}

    return {"lines": fastest(lambda: sum(len(e.ids) for e in tokenizer.encode_batch(lines, add_special_tokens=False))),
            "text": fastest(lambda: len(tokenizer.encode(text, add_special_tokens=False).ids))}


def faster(one, other):
    return other if one is None or other["bytes_per_second"] > one["bytes_per_second"] else one


def measure(name, path, tokenizer, text_file, rounds):
    best = {"ours": {}, "theirs": {}}
    text = text_file.read_text()
    for _ in range(rounds):
        done = subprocess.run([ROOT / "build" / "bench" / "tokenizer_bench", path, text_file, "3"], stdout=subprocess.PIPE,
                              check=True, text=True)
        for side, found in (("ours", json.loads(done.stdout)), ("theirs", theirs(tokenizer, text))):
            for part, figures in found.items():
                best[side][part] = faster(best[side].get(part), figures)
    row = {"tokenizer": name}
    for part in ("lines", "text"):
        ours, other = best["ours"][part], best["theirs"][part]
        assert ours["ids"] == other["ids"], (name, part, ours, other)
        row[part] = {"ours_bytes_per_second": ours["bytes_per_second"], "theirs_bytes_per_second": other["bytes_per_second"],
                     "ratio": ours["bytes_per_second"] / other["bytes_per_second"]}
    print(f"{name:32} lines {row['lines']['ratio']:.2f} x, text {row['text']['ratio']:.2f} x "
          f"({row['text']['ours_bytes_per_second'] / 1e6:.1f} MB/s)", file=sys.stderr, flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--text", type=Path, default=ROOT / "data" / "encyclopedia.txt")
    options = parser.parse_args()
    import tokenizers_test as kinds
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in KINDS:
            path, tokenizer, _ = kinds.KINDS[name](Path(folder))
            rows.append(measure(name, path, tokenizer, options.text, options.rounds))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
