"""What the Python tests share: the binary, a tiny model with a tokenizer, texts, and the program's frame."""

import atexit
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("LRQAT_BUILD", ROOT / "build"))
LRQAT = BUILD / "lrqat"
SERVER = BUILD / "tests" / "lrqat_server"


class Server:
    """tests/lrqat_server.cpp: runs commands in processes that need not load LibTorch anew."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen([SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(self.process.communicate)  # ends it

    def run(self, arguments, stdin=""):
        files = {name: Path(self.folder.name) / name for name in ("stdin", "stdout", "stderr")}
        files["stdin"].write_text(stdin)
        self.process.stdin.write(json.dumps({"arguments": ["lrqat", *arguments],
                                             **{name: str(path) for name, path in files.items()}}) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, files["stdout"].read_text(errors="replace"),
                                           files["stderr"].read_text(errors="replace"))


@functools.cache
def server():
    """None where it is not there or older than the program, of which alone a new one was built."""
    current = SERVER.exists() and SERVER.stat().st_mtime_ns >= LRQAT.stat().st_mtime_ns
    return Server() if current else None


def run_lrqat(arguments, stdin=None, environment=None, timeout=None):
    """Runs the program as subprocess.run does. The server stands in the folder where the tests began, with their environment."""
    arguments = [str(argument) for argument in arguments]
    if environment is None and timeout is None and server() is not None:
        return server().run(arguments, stdin or "")
    return subprocess.run([LRQAT, *arguments], input=stdin, capture_output=True, text=True, errors="replace",
                          env={**os.environ, **(environment or {})}, timeout=timeout)


def lrqat(*arguments, expect=0, stdin=None, environment=None):
    """Runs the program; returns (stdout, stderr). Fails where the exit code is another."""
    result = run_lrqat(arguments, stdin, environment)
    assert result.returncode == expect, (
        f"lrqat {' '.join(map(str, arguments))}: exit code {result.returncode}, expected {expect}\n{result.stderr}")
    return result.stdout, result.stderr


def lrqat_json(*arguments):
    return json.loads(lrqat(*arguments, "--json")[0])


def byte_tokenizer():
    """A tokenizer.json of 256 tokens: the bytes in GPT-2's alphabet, but the one merged token "th" for byte 0xFF."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    vocab, extra = {}, 0
    for byte in range(256):
        if byte in printable:
            vocab[chr(byte)] = byte
        else:
            vocab[chr(0x100 + extra)] = byte
            extra += 1
    vocab["th"] = vocab.pop(chr(0xFF))
    return {"version": "1.0", "added_tokens": [], "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
            "post_processor": None, "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "unk_token": None, "vocab": vocab, "merges": ["t h"]}}


def tiny_model(folder):
    """The golden tiny Llama (2 layers, hidden 64, vocabulary 256) with a tokenizer, as a Hugging Face folder."""
    model = Path(folder) / "tiny"
    shutil.copytree(ROOT / "tests" / "data" / "golden" / "tiny_llama", model, dirs_exist_ok=True)
    (model / "tokenizer.json").write_text(json.dumps(byte_tokenizer()))
    return model


def long_tiny_model(folder):
    """The same with positions for windows of 512 tokens."""
    model = tiny_model(folder)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 512}))
    return model


def run_state(run):
    """Every byte that the next step depends on."""
    index = json.loads((run / "checkpoints" / "index.json").read_text())
    checkpoint = run / "checkpoints" / index["last"]
    record = json.loads((checkpoint / "state.json").read_text())
    record.pop("seconds")
    return [(checkpoint / name).read_bytes() for name in ("trainables.safetensors", "optimizer.safetensors")], record


def losses(run):
    """The loss of every step that a run has logged."""
    return [json.loads(line)["train/loss"] for line in (run / "metrics.jsonl").read_text().splitlines()
            if "train/loss" in json.loads(line)]


def kill_when_half_done(arguments, run):
    """Starts the program and kills it when the run has logged some steps."""
    process = subprocess.Popen([LRQAT, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (run / "metrics.jsonl").exists() and len(losses(run)) >= 8:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() != 0, "the run ended before it was killed"


def text_file(folder, characters=20_000):
    """The beginning of the project's own training text."""
    path = Path(folder) / "text.txt"
    path.write_text((ROOT / "data" / "encyclopedia.txt").read_text()[:characters])
    return path


def main(tests):
    """Runs the functions, each with a temporary folder; prints what passed; exits with 1 where one failed."""
    failed = 0
    for test in tests:
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(Path(folder))
                print(f"ok      {test.__name__}")
            except Exception:  # every failure is shown, the others still run
                traceback.print_exc()
                print(f"FAILED  {test.__name__}")
                failed += 1
    sys.exit(1 if failed else 0)
