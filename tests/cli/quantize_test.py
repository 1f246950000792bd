"""lrqat quantize: one command from a model to a file, with the table; it goes on where it was killed and ends in the same integers;
its work folder belongs to one command; what cannot be is refused before anything is written."""

import signal
import subprocess
import time

from tests.support import LRQAT, lrqat, lrqat_json, main, text_file, tiny_model

QUICK = ["--block-steps", 6, "--calibration-tokens", 512, "--sequence-length", 32, "--threads", 1, "--granularity", "group:32"]


def command(folder, out, *more, steps=4):
    return ["quantize", "--model", tiny_model(folder), "--data", text_file(folder), "--out", folder / out, *QUICK,
            *(["--steps", steps] if steps else []), *more]


def one_command_ends_in_a_file_and_a_table(folder):
    stdout, _ = lrqat(*command(folder, "m.gguf"))
    for word in ("KL to float", "same first token", "perplexity", "bits a weight", "float", "rounded", "quantized", "bit-exact"):
        assert word in stdout, stdout
    assert (folder / "m.gguf").exists() and not (folder / "m.gguf.work").exists()
    found = lrqat_json(*command(folder, "again.gguf"))
    assert (folder / "again.gguf").read_bytes() == (folder / "m.gguf").read_bytes()
    measured = found["measured"]
    assert measured["quantized"]["kl"] > 0 and measured["rounded"]["kl"] > 0, found
    assert 0 < measured["quantized"]["same_first_token"] <= 1 and found["bit_exact_tensors"] > 0
    assert found["bytes"] == (folder / "m.gguf").stat().st_size


def figures_are_those_of_compare(folder):
    text = folder / "other.txt"
    text.write_text(text_file(folder).read_text()[:4000])
    arguments = command(folder, "m", "--format", "lrqat", "--eval-data", text, "--eval-context", 32, "--eval-windows", 0)
    measured = lrqat_json(*arguments)["measured"]
    compared = lrqat_json("compare", tiny_model(folder), folder / "m", "--data", text, "--context", 32, "--threads", 1,
                          "--compute-dtype", "auto")
    assert abs(measured["quantized"]["kl"] - compared["kl"]) < 1e-3 * compared["kl"], (measured, compared)
    assert measured["tokens"] == compared["tokens"], (measured, compared)


def text_is_sampled_where_none_is_given(folder):
    model = tiny_model(folder)
    found = lrqat_json("quantize", "--model", model, "--out", folder / "m.gguf", *QUICK, "--preset", "fast", "--keep-work")
    rows = (folder / "m.gguf.work" / "text.jsonl").read_text().splitlines()
    assert len(rows) > 4 and all('"text"' in row for row in rows)
    assert found["preset"] == "fast" and found["steps"] == 0


def a_killed_command_goes_on(folder):
    lrqat(*command(folder, "straight", "--format", "lrqat", "--no-measure", "--save-every", 1, steps=20))
    killed = command(folder, "killed", "--format", "lrqat", "--no-measure", "--save-every", 1, steps=20)
    process = subprocess.Popen([LRQAT, *map(str, killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = folder / "killed.work" / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if metrics.exists() and len(metrics.read_text().splitlines()) > 6:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() != 0, "the command ended before it was killed"
    assert not (folder / "killed").exists()
    _, stderr = lrqat(*killed)
    assert "continuing at step" in stderr, stderr
    for name in ("model.safetensors", "config.json"):
        assert (folder / "killed" / name).read_bytes() == (folder / "straight" / name).read_bytes(), name


def a_work_folder_belongs_to_one_command(folder):
    lrqat(*command(folder, "m.gguf", "--keep-work"))
    (folder / "m.gguf").unlink()
    _, stderr = lrqat(*command(folder, "m.gguf", "--bits", 3), expect=1)
    assert "other settings" in stderr and "m.gguf.work" in stderr, stderr
    other = folder / "notes"
    other.mkdir()
    (other / "mine.txt").write_text("keep me")
    _, stderr = lrqat(*command(folder, "m.gguf", "--work", other), expect=1)
    assert "not a work folder" in stderr and (other / "mine.txt").exists(), stderr


def what_cannot_be_is_refused_first(folder):
    for out, more, code, words in (("m", [], 2, "--format"), ("m.gguf", ["--preset", "quick"], 2, "balanced"),
                                   ("m.gguf", ["--for", "awq"], 2, "--for awq"), ("m", ["--format", "gguff"], 2, "gguff"),
                                   ("tiny", ["--format", "lrqat"], 1, "tiny")):
        _, stderr = lrqat(*command(folder, out, *more), expect=code)
        assert words in stderr, (out, more, stderr)
        assert not (folder / f"{out}.work").exists(), out


main([one_command_ends_in_a_file_and_a_table, figures_are_those_of_compare, text_is_sampled_where_none_is_given,
      a_killed_command_goes_on, a_work_folder_belongs_to_one_command, what_cannot_be_is_refused_first])
