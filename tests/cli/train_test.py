"""lrqat train as a user runs it: documents of --json, a killed run that resumes bit for bit, Ctrl-C, refusals."""

import json
import signal
import subprocess
import time

from tests.support import LRQAT, lrqat, lrqat_json, main, run_state, text_file, tiny_model

STEPS = ["--init", "range", "--distill-weight", 0, "--steps", 20, "--batch-size", 2, "--sequence-length", 32, "--threads", 1]
ADAPTERS = ["--rank", 4, "--lora-alpha", 32]


def base(folder, own=ADAPTERS):
    return ["--model", tiny_model(folder), "--data", text_file(folder), *STEPS, *own]


def last_step(run):
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def train_until_killed(arguments, run, signal_number):
    process = subprocess.Popen([LRQAT, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while last_step(run) < 10 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal_number)
    return process.wait(), process.stderr.read()


def check_resume(folder, extra, signal_number):
    arguments = [*base(folder), *extra]
    straight, killed = folder / "straight", folder / "killed"
    lrqat("train", *arguments, "--out", straight)
    # Ten thousand steps of a schedule of 20 would be another run, so the killed one is slowed by saving every step.
    code, stderr = train_until_killed(["train", *arguments, "--save-every", 1, "--out", killed], killed, signal_number)
    assert code != 0, "the run ended before it was killed"
    if signal_number == signal.SIGINT:
        assert code == 1 and "--resume" in stderr, (code, stderr)
    assert 10 <= last_step(killed) < 20, last_step(killed)
    lrqat("train", "--out", killed, "--resume", "--threads", 1)
    assert run_state(killed) == run_state(straight), "a resumed run differs from a straight one"
    other = folder / "other"
    lrqat("train", *arguments, "--seed", 1, "--out", other)
    assert run_state(other) != run_state(straight), "negative control: another seed gives other bytes"
    lines = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "train/loss" in line]
    assert steps == list(range(1, 21)), steps


def killed_run_resumes_bit_for_bit(folder):
    check_resume(folder, [], signal.SIGKILL)


def killed_run_with_accumulation_and_distillation_resumes_bit_for_bit(folder):
    check_resume(folder, ["--gradient-accumulation", 2, "--distill-weight", 0.5], signal.SIGKILL)


def mapped_frozen_weights_change_nothing(folder):
    straight, mapped = folder / "straight", folder / "mapped"
    for method in ("lr-qat", "peqa", "lora"):
        arguments = [*base(folder, [] if method == "peqa" else ADAPTERS), "--method", method]
        lrqat("train", *arguments, "--out", straight / method)
        lrqat("train", *arguments, "--map-frozen", "true", "--out", mapped / method)
        assert run_state(mapped / method) == run_state(straight / method), method
    (folder / "resumed").mkdir()
    check_resume(folder / "resumed", ["--map-frozen", "true"], signal.SIGKILL)


def interrupted_run_resumes_bit_for_bit(folder):
    check_resume(folder, ["--checkpointing", "block", "--compute-dtype", "float32"], signal.SIGINT)


def json_documents(folder):
    run, converted = folder / "run", folder / "converted"
    text = text_file(folder)
    train = lrqat_json("train", *base(folder), "--eval-data", text, "--eval-context", 64, "--eval-every", 5, "--out", run)
    assert train["steps"] == 20 and train["tokens"] == 20 * 64
    assert set(train["perplexity"]) == {"float", "rtn", "trained"}
    assert train["perplexity"]["trained"] < train["perplexity"]["rtn"], train
    for key in ("loss", "tokens_per_second", "peak_memory_bytes", "run"):
        assert key in train, key
    convert = lrqat_json("convert", "--run", run, "--out", converted)
    assert len(convert["layers"]) == 14 and len(convert["sha256"]) == 64
    assert set(convert["layers"][0]) == {"name", "num_bits", "granularity", "group_size", "clipped_fraction"}
    export = lrqat_json("export", "--model", converted, "--format", "gguf", "--out", folder / "m.gguf", "--rest-type", "keep")
    assert export["bit_exact_tensors"] == export["tensors"] == 21, export
    for model in (run, converted, folder / "m.gguf"):
        perplexity = lrqat_json("perplexity", "--model", model, "--data", text, "--context", 64)
        assert set(perplexity) >= {"perplexity", "nll", "tokens", "context", "windows", "bos", "seconds", "peak_memory_bytes"}
        assert perplexity["tokens"] == perplexity["windows"] * 63
        reference = perplexity if model == run else reference
        # the same integers and scales: equal up to float32 sums in another order
        assert abs(perplexity["nll"] - reference["nll"]) < 1e-5, (model, perplexity, reference)
        inspect = lrqat_json("inspect", model)
        assert inspect["kind"] == {run: "run", converted: "converted", folder / "m.gguf": "gguf"}[model]
        assert inspect["bits_per_weight"] > 4 and len(inspect["tensors"]) >= 21
        assert set(inspect["tensors"][0]) >= {"name", "dtype", "shape", "num_bits", "granularity", "group_size", "sha256"}
    generated = lrqat_json("generate", "--model", converted, "--prompt", "The", "--max-tokens", 8)
    assert len(generated["tokens"]) == 8
    plan = lrqat_json("plan", *base(folder))
    assert plan["peak_memory_bytes"] >= sum(plan["parts"].values()) > 0 and plan["tokens_per_second"] > 0


def config_file_and_flags_say_the_same(folder):
    arguments = base(folder)
    lrqat("train", *arguments, "--lr", "2e-3", "--out", folder / "flags")
    recipe = folder / "flags" / "recipe.toml"
    assert "lr = 0.002" in recipe.read_text()
    lrqat("train", "--config", recipe, "--threads", 1, "--out", folder / "file")
    assert (folder / "file" / "recipe.toml").read_text() == recipe.read_text()
    assert run_state(folder / "file") == run_state(folder / "flags")
    lrqat("train", "--config", recipe, "--lr", "1e-3", "--threads", 1, "--out", folder / "both")
    assert "lr = 0.001" in (folder / "both" / "recipe.toml").read_text(), "a flag overrides the file"


def refusals(folder):
    arguments = base(folder)
    run = folder / "run"
    lrqat("train", *arguments, "--out", run)
    (folder / "bad.toml").write_text('bits = 4\nlearning-rate = 3\n')
    (folder / "short.txt").write_text("a few words")
    cases = [
        (1, ["train", *arguments, "--out", run], "exists"),
        (2, ["train", "--resume", "--out", run, "--lr", "1"], "--resume continues the run's own recipe"),
        (1, ["train", "--resume", "--out", folder / "none"], "not a training run"),
        (2, ["train", *arguments, "--bits", "5", "--out", folder / "x"], "--bits 5 is not supported"),
        (2, ["train", *arguments, "--phi", "float8", "--out", folder / "x"], "fixed_point8"),
        (2, ["train", *arguments, "--method", "magic", "--out", folder / "x"], "lr-qat, l4q, lsq, peqa, qlora, lora, rtn"),
        (2, ["train", *arguments, "--lr", "fast", "--out", folder / "x"], '--lr "fast"'),
        (1, ["train", *arguments, "--granularity", "group:48", "--out", folder / "x"], "sizes that would work here: 8, 16, 32, 64"),
        (2, ["train", *arguments, "--config", folder / "bad.toml", "--out", folder / "x"], "bad.toml:2"),
        (1, ["train", "--model", folder / "tiny", "--data", folder / "short.txt", "--out", folder / "x"],
         "less than one sequence"),
        (2, ["train", *arguments, "--frobnicate", "--out", folder / "x"], "--frobnicate"),
        (1, ["perplexity", "--model", folder / "nothing", "--data", folder / "short.txt"], "nothing"),
        (1, ["perplexity", "--model", run, "--data", folder / "short.txt"], "fewer than one window"),
        (1, ["convert", "--run", folder / "tiny", "--out", folder / "c"], "nothing to convert"),
        (2, ["perplexity", "--model", run, "--data", folder / "short.txt", "--device", "tpu"], "use cpu, cuda or cuda:N"),
        (2, ["export", "--model", run, "--format", "zip", "--out", folder / "m"], "gguf"),
    ]
    for code, command, message in cases:
        _, stderr = lrqat(*command, expect=code)
        assert message in stderr, (command[0], message, stderr)
    assert not (folder / "x").exists() and not (folder / "c").exists(), "a refused command leaves nothing"


def diverging_training_stops_before_the_optimiser(folder):
    run = folder / "run"
    _, stderr = lrqat("train", *base(folder), "--lr", "1e38", "--warmup", 0, "--clip-norm", 0, "--out", run, expect=1)
    assert "the last checkpoint" in stderr, stderr
    assert last_step(run) < 20
    lrqat_json("inspect", run)


def resume_refuses_other_data(folder):
    arguments = base(folder)
    run = folder / "run"
    train_until_killed(["train", *arguments, "--save-every", 1, "--out", run], run, signal.SIGKILL)
    (folder / "text.txt").write_text("changed " * 2000)
    _, stderr = lrqat("train", "--resume", "--out", run, expect=1)
    assert "the training data" in stderr, stderr


main([json_documents, killed_run_resumes_bit_for_bit, mapped_frozen_weights_change_nothing,
      killed_run_with_accumulation_and_distillation_resumes_bit_for_bit, interrupted_run_resumes_bit_for_bit,
      config_file_and_flags_say_the_same, refusals, diverging_training_stops_before_the_optimiser,
      resume_refuses_other_data])
