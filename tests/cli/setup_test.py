"""What tools/setup.sh installs on which machine, with stand-ins for pip, dpkg, nvidia-smi and the wheel of torch: nothing
is downloaded. The stand-in for .venv's Python writes what pip is asked for to stderr, between the script's own lines."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT, main

TOOLS = ["bash", "cat", "cmp", "cp", "dirname", "env", "rm", "sed"]  # all that the script may find in PATH
PYTHON = f"""#!/bin/bash
if [ "$1" = -m ]; then echo "PIP ${{@:7}}" >&2; else exec {sys.executable} "$@"; fi
"""


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def machine(folder, wheel="cpu", gpu=False, packages=True):
    """A clone with a .venv that holds a wheel of torch, on a machine with or without a GPU."""
    clone, binaries = folder / "clone", folder / "bin"
    (clone / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "setup.sh", clone / "tools")
    for file in ROOT.glob("requirements*.txt"):
        shutil.copy(file, clone)
    script(clone / ".venv" / "bin" / "python", PYTHON)
    libraries = clone / ".venv" / "lib" / "python3.11" / "site-packages" / "torch" / "lib"
    libraries.mkdir(parents=True)
    for name in ["libtorch_cpu.so", *(["libtorch_cuda.so"] if wheel == "cuda" else [])]:
        (libraries / name).touch()
    binaries.mkdir()
    for tool in TOOLS:
        (binaries / tool).symlink_to(shutil.which(tool))
    script(binaries / "dpkg-query", f"#!/bin/bash\nprintf {'installed' if packages else 'config-files'}\n")
    script(binaries / "apt-get", "#!/bin/bash\necho \"APT $*\" >&2\n")
    script(binaries / "id", "#!/bin/bash\necho 1000\n")
    script(binaries / "nvidia-smi", f"#!/bin/bash\nexit {0 if gpu else 9}\n")
    return clone


def setup(clone, *arguments, expect=0, **environment):
    """The lines on stderr."""
    result = subprocess.run(["bash", clone / "tools" / "setup.sh", *arguments], capture_output=True, text=True,
                            env={"PATH": str(clone.parent / "bin"), **environment})
    assert result.returncode == expect, (result.returncode, result.stderr)
    return result.stderr.splitlines()


def pip(lines):
    return [line.removeprefix("PIP ") for line in lines if line.startswith("PIP ")]


def cpu_wheel_needs_nothing_of_nvidia(folder):
    clone = machine(folder)
    assert pip(setup(clone)) == ["-r requirements.txt"]
    assert setup(clone) == [], "a second run has nothing to do"
    assert pip(setup(clone, "--demo")) == ["-r requirements-demo.txt"]


def cuda_wheel_needs_the_runtime(folder):
    clone = machine(folder, wheel="cuda")
    assert pip(setup(clone)) == ["-r requirements.txt", "-r requirements-cudart.txt"]
    assert setup(clone) == []
    lines = setup(clone, "--tests", CPU_ONLY="1")
    assert "-r requirements-cuda.txt" not in pip(lines), lines
    lines = setup(clone, "--tests")
    assert pip(lines) == ["-r requirements-cuda.txt"] and "import torch" in lines[0], lines


def gpu_needs_everything(folder):
    clone = machine(folder, wheel="cuda", gpu=True)
    lines = setup(clone, CPU_ONLY="1")
    assert pip(lines) == ["-r requirements.txt", "-r requirements-cudart.txt"], lines
    lines = setup(clone)
    assert "1.98 GB" in lines[0] and "CPU_ONLY=1" in lines[0], lines
    assert lines[1:] == ["PIP -r requirements-cuda.txt"], "the size is said before the download"


def gpu_with_the_cpu_wheel_is_told(folder):
    clone = machine(folder, gpu=True)
    lines = setup(clone)
    assert pip(lines) == ["-r requirements.txt"] and "LRQAT_TORCH=torch===2.13.0" in lines[-1], lines
    assert setup(clone) == [], "it is said once"


def the_wheel_can_be_chosen(folder):
    clone = machine(folder)
    index = "torch===2.13.0+cpu --extra-index-url https://example.invalid/whl"
    assert pip(setup(clone, LRQAT_TORCH=index)) == [index]
    assert setup(clone, LRQAT_TORCH=index) == [] and setup(clone) == [], "the choice stays"
    assert pip(setup(clone, LRQAT_TORCH="torch===2.13.0")) == ["torch===2.13.0"]


def old_python_is_named(folder):
    clone = machine(folder)
    shutil.rmtree(clone / ".venv")
    script(folder / "bin" / "python3", "#!/bin/bash\n[ $1 = --version ] && echo Python 3.9.2\nexit 1\n")
    lines = setup(clone, expect=1)
    assert "Python 3.9.2" in lines[-1] and "3.11 to 3.14" in lines[-1], lines
    assert not (clone / ".venv").exists()


def without_sudo_the_packages_are_named(folder):
    lines = setup(machine(folder, packages=False), expect=1)
    assert "no sudo" in lines[-1] and "APT" not in "".join(lines), lines
    assert "apt-get install --no-install-recommends " in lines[-1] and "libcli11-dev" in lines[-1], lines


def refused_by_sudo_the_packages_are_named(folder):
    clone = machine(folder, packages=False)
    script(folder / "bin" / "sudo", "#!/bin/bash\necho 'user is not in the sudoers file.' >&2\nexit 1\n")
    lines = setup(clone, expect=1)
    assert "sudoers" in lines[-2] and "apt-get install --no-install-recommends " in lines[-1], lines
    assert not pip(lines), lines


def a_failed_download_is_tried_again(folder):
    clone = machine(folder)
    works = (clone / ".venv" / "bin" / "python").read_text()
    script(clone / ".venv" / "bin" / "python", works.replace("PIP ${@:7}\" >&2", "no network\" >&2; exit 1"))
    lines = setup(clone, expect=1)
    assert lines[-2] == "no network" and "requirements.txt" in lines[-1] and "tries again" in lines[-1], lines
    script(clone / ".venv" / "bin" / "python", works)
    assert pip(setup(clone)) == ["-r requirements.txt"]


def gptqmodel_is_tried_once(folder):
    clone = machine(folder)
    works = (clone / ".venv" / "bin" / "python").read_text()
    fails = works.replace("if [ ", '[[ "$*" != *gptqmodel* ]] || { echo "no headers"; exit 1; }\nif [ ', 1)
    script(clone / ".venv" / "bin" / "python", fails)
    lines = setup(clone, "--tests")
    assert pip(lines) == ["-r requirements.txt", "-r requirements-test.txt"], lines
    assert "gptqmodel_test.py is skipped" in lines[-1] and "no headers" not in "".join(lines), lines
    assert (clone / ".venv" / "gptqmodel.log").read_text() == "no headers\n"
    assert setup(clone, "--tests") == [], "a machine without network goes on"
    (clone / lines[-1].split("rm ")[-1]).unlink()
    assert "gptqmodel_test.py is skipped" in setup(clone, "--tests")[-1], "tried again as it was told"


def failed_wheel_check_names_the_step(folder):
    """tools/check_wheels.sh in a clone whose Makefile plays the project: what it says of a step that fails."""
    clone = folder / "clone"
    (clone / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "check_wheels.sh", clone / "tools")
    (clone / "Makefile").write_text("""setup:
	mkdir -p .venv/lib/python3/site-packages/torch/lib build
	echo "__version__ = '2.13.0'" > .venv/lib/python3/site-packages/torch/version.py
	test $(LRQAT_TORCH) != torch===2.13.0 || touch .venv/lib/python3/site-packages/torch/lib/libtorch_cuda.so
build:
	cp /bin/true build/lrqat
demo: build
	test -n "$(LET_DEMO_PASS)"
test: demo
.PHONY: setup build demo test
""")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    for command in ["init", "-q"], ["add", "."], ["commit", "-q", "-m", "test"]:
        subprocess.run([*git, *command], cwd=clone, check=True)

    def check(*arguments, expect, **environment):
        result = subprocess.run(["tools/check_wheels.sh", *arguments], cwd=clone, capture_output=True, text=True,
                                env={**os.environ, "TMPDIR": str(folder), **environment})
        assert result.returncode == expect, (result.returncode, result.stdout, result.stderr)
        assert {path.name for path in folder.iterdir()} == {"clone"}, "its clones are removed"
        return (result.stdout + result.stderr) if expect == 2 else result.stdout.splitlines()

    assert check("--only", "build,test", expect=1)[-2:] == [
        "cpu wheel: FAILED at make test (exit code 2)", "cuda wheel: FAILED at make test (exit code 2)"]
    assert check(expect=0, LET_DEMO_PASS="1")[-2:] == ["cpu wheel: demo test: passed", "cuda wheel: demo test: passed"]
    lines = check("--wheel", "cpu", "--only", "build", expect=1, LRQAT_TORCH_CPU="torch===2.13.0")
    assert lines[-1] == "cpu wheel: FAILED at make setup (exit code 1)", "the CUDA wheel in the CPU wheel's place"
    assert "known are build, demo, test" in check("--only", "all", expect=2)
    assert "usage" in check("--wheel", "rocm", expect=2)


def pins_are_complete(_):
    """Every line of the files is a pin, and no package is in two of the CUDA files."""
    names = []
    for file in ["requirements-cudart.txt", "requirements-cuda.txt"]:
        lines = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]
        assert all(line.count("==") == 1 for line in lines), lines
        names += [line.split("==")[0] for line in lines]
    assert len(names) == len(set(names)) == 15, names


if __name__ == "__main__":
    on_gpu_machine = os.path.exists("/dev/nvidia0")  # there the machines without one cannot be played
    anywhere = [gpu_needs_everything, the_wheel_can_be_chosen, old_python_is_named, without_sudo_the_packages_are_named,
                refused_by_sudo_the_packages_are_named, a_failed_download_is_tried_again,
                gptqmodel_is_tried_once, failed_wheel_check_names_the_step, pins_are_complete]
    main(anywhere if on_gpu_machine else [*anywhere, cpu_wheel_needs_nothing_of_nvidia, cuda_wheel_needs_the_runtime,
                                          gpu_with_the_cpu_wheel_is_told])
