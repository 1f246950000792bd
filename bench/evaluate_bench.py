"""Speed and memory of `lrqat perplexity` and `lrqat evaluate` beside transformers on the same file, threads and text,
float32, in alternating runs, each a process of its own:

    python bench/evaluate_bench.py [--model M.gguf] [--threads 1] [--runs 3] [--windows 8]

transformers' side is the plainest loop: windows one by one; for the tasks every question with each of its choices as a
batch, padded. Prints one JSON document. On a machine that others use too, look at the "cpu" figures (one thread: processor time;
lrqat's include loading, transformers' do not). Never part of the tests."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "outsiders")]
CONTEXT = 512


def transformers_side(arguments):
    """In its own process: seconds of the measured loops, without loading."""
    import torch
    import transformers
    torch.set_num_threads(arguments.threads)
    path = Path(arguments.model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    ids = tokenizer((Path(arguments.folder) / "text.txt").read_text())["input_ids"]
    rows = [json.loads(line) for line in (Path(arguments.folder) / "arc_easy_test.jsonl").read_text().splitlines()]
    with torch.no_grad():
        start, cpu = time.perf_counter(), time.process_time()
        total = 0.0
        for i in range(arguments.windows):
            window = torch.tensor([ids[i * CONTEXT:(i + 1) * CONTEXT]])
            total += model(window, labels=window).loss.item()
        perplexity_seconds, perplexity_cpu = time.perf_counter() - start, time.process_time() - cpu
        start, cpu = time.perf_counter(), time.process_time()
        for row in rows:
            prompt = f"Question: {row['question']}\nAnswer:"
            texts = [tokenizer(f"{prompt} {choice}")["input_ids"] for choice in row["choices"]["text"]]
            length = max(map(len, texts))
            batch = torch.tensor([text + [0] * (length - len(text)) for text in texts])
            logits = model(batch).logits.log_softmax(-1)
            begin = len(tokenizer(prompt)["input_ids"])
            [logits[i, begin - 1:len(t) - 1].gather(1, torch.tensor(t[begin:])[:, None]).sum().item()
             for i, t in enumerate(texts)]
        task_seconds, task_cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"perplexity": perplexity_seconds, "arc_easy": task_seconds, "perplexity_cpu": perplexity_cpu,
                      "arc_easy_cpu": task_cpu, "nll": total / arguments.windows,
                      "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def lrqat_side(arguments, model):
    common = ["--threads", str(arguments.threads), "--json"]
    binary = os.environ.get("LRQAT", str(ROOT / "build" / "lrqat"))

    def run(*command):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = subprocess.run([binary, *map(str, command), *common], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return json.loads(result.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    text, text_cpu = run("perplexity", "--model", model, "--data", Path(arguments.folder) / "text.txt", "--context", CONTEXT,
               "--max-windows", arguments.windows)
    tasks, tasks_cpu = run("evaluate", "--model", model, "--tasks", "arc_easy", "--task-data", arguments.folder)
    return {"perplexity": text["seconds"], "arc_easy": tasks["tasks"]["arc_easy"]["seconds"], "perplexity_cpu": text_cpu,
            "arc_easy_cpu": tasks_cpu, "nll": text["nll"],
            "peak_memory_bytes": max(text["peak_memory_bytes"], tasks["peak_memory_bytes"])}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=None)
    parser.add_argument("--quantized", default=None, help="a 4-bit model of the same architecture, for its memory and speed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--folder", default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        transformers_side(arguments)
        return
    if arguments.model is None:
        import support
        arguments.model = str(support.smollm2())
    with tempfile.TemporaryDirectory() as folder:
        arguments.folder = folder
        text = (ROOT / "data" / "novels.txt").read_text()
        (Path(folder) / "text.txt").write_text(text[:arguments.windows * CONTEXT * 5])
        rows = (ROOT / "tests" / "data" / "eval" / "arc_easy_test.jsonl").read_text()
        (Path(folder) / "arc_easy_test.jsonl").write_text(rows)
        found = {"transformers": [], "lrqat": [], "lrqat_quantized": []}
        for _ in range(arguments.runs):
            command = [sys.executable, __file__, "--model", arguments.model, "--folder", folder, "--threads",
                       str(arguments.threads), "--windows", str(arguments.windows)]
            found["transformers"].append(json.loads(subprocess.run(command, capture_output=True, text=True,
                                                                   check=True).stdout.splitlines()[-1]))
            found["lrqat"].append(lrqat_side(arguments, arguments.model))
            if arguments.quantized:
                found["lrqat_quantized"].append(lrqat_side(arguments, arguments.quantized))
        report(arguments, {name: runs for name, runs in found.items() if runs})


def report(arguments, found):
    best = {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()}
    other = best["transformers"]
    ratios = {name: {"perplexity_speed": other["perplexity"] / one["perplexity"],
                     "task_speed": other["arc_easy"] / one["arc_easy"],
                     "perplexity_speed_cpu": other["perplexity_cpu"] / one["perplexity_cpu"],
                     "task_speed_cpu": other["arc_easy_cpu"] / one["arc_easy_cpu"],
                     "memory": one["peak_memory_bytes"] / other["peak_memory_bytes"]}
              for name, one in best.items() if name != "transformers"}
    tokens = arguments.windows * (CONTEXT - 1)
    print(json.dumps({"threads": arguments.threads, "runs": arguments.runs, "median": best,
                      "perplexity_tokens_per_second": {name: tokens / one["perplexity"] for name, one in best.items()},
                      "ratio_to_transformers": ratios}, indent=2))


if __name__ == "__main__":
    main()
