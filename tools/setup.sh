#!/usr/bin/env bash
# Installs what is missing, and only that: Debian packages (through sudo where not root) and the virtual environment
# .venv with the pinned packages of requirements.txt. Where everything is there it needs no network.
#   tools/setup.sh           what building and running need
#   tools/setup.sh --tests   also requirements-test.txt: the outsiders that the tests compare with
#   tools/setup.sh --demo    also requirements-demo.txt: the model of the demo
#   tools/setup.sh --study   also requirements-study.txt: what draws the plots of the study
#   tools/setup.sh --rivals  also requirements-rivals.txt, beside the others: what `make rivals` compares with
#   tools/setup.sh --lint    also clang-format and clang-tidy
# CPU_ONLY=1 leaves out NVIDIA's libraries, which only `--device cuda` and Python's `import torch` with torch's CUDA
# wheel need. LRQAT_TORCH is what pip is given in place of requirements.txt: LRQAT_TORCH=torch===2.13.0 is the CUDA
# wheel, LRQAT_TORCH="torch===2.13.0+cpu --extra-index-url INDEX" the CPU wheel (INDEX: PyTorch's, of CPU wheels).
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "tools/setup.sh: $*" >&2; }

packages=(g++ cmake make ninja-build ccache pkg-config python3-venv nlohmann-json3-dev libcli11-dev libpcre2-dev
          libutf8proc-dev libtomlplusplus-dev zlib1g-dev liblzma-dev libzstd-dev libgtest-dev libbenchmark-dev xz-utils)
requirements=()
tests=
for argument in "$@"; do
  case "$argument" in
    --tests) tests=1; requirements+=(requirements-test.txt requirements-gptqmodel.txt) ;;
    --demo) requirements+=(requirements-demo.txt) ;;
    --study) requirements+=(requirements-study.txt) ;;
    --rivals) requirements+=(requirements-rivals.txt) ;;
    --lint) packages+=(clang-format clang-tidy) ;;
    *) say "unknown argument $argument (known: --tests, --demo, --study, --rivals, --lint)"; exit 2 ;;
  esac
done

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] && continue
  # A tool that is there by other means (a newer CMake, Python's own venv) is as good.
  case "$package" in
    cmake|make|g++) command -v "$package" >/dev/null && continue ;;
    python3-venv) python3 -c 'import venv, ensurepip' 2>/dev/null && continue ;;
    xz-utils) command -v xz >/dev/null && continue ;;
    ninja-build) command -v ninja >/dev/null && continue ;;
  esac
  missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  sudo=()
  by_hand="apt-get install --no-install-recommends ${missing[*]}"
  command -v apt-get >/dev/null || { say "no apt-get here; needed are the Debian packages ${missing[*]}"; exit 1; }
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { say "not root and no sudo; have this run by who may, then go on: $by_hand"; exit 1; }
    sudo=(sudo)
  fi
  say "installing Debian packages: ${missing[*]}"
  apt_install=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends)
  if ! "${sudo[@]}" apt-get update -qq || ! "${apt_install[@]}" "${missing[@]}" >/dev/null; then
    say "the Debian packages could not be installed (see above); have this run by who may, then go on: $by_hand"
    exit 1
  fi
fi

python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python
if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'; then
  say "$python is $("$python" --version 2>&1), and the pinned packages are for Python 3.11 to 3.14. Make the virtual" \
      "environment with one of those, then go on as before: rm -rf .venv && python3.12 -m venv .venv"
  exit 1
fi
[ -x .venv/bin/python ] || python3 -m venv --clear .venv

# --no-deps: the files pin everything, so no package can pull in another torch.
install=(.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps)
# Installs a requirements file once; $2, where given, says why.
install_file() {
  local file=$1 stamp=.venv/$1.installed
  cmp -s "$file" "$stamp" && return
  say "installing $file into .venv$(sed -n 's/^# Download: /, a download of /p' "$file")${2:+ ($2)}"
  if [ "$file" = requirements-gptqmodel.txt ]; then  # beside the others, and only where it installs
    local log=.venv/gptqmodel.log
    rm -rf .venv/gptqmodel
    if ! "${install[@]}" --no-build-isolation --target .venv/gptqmodel -r "$file" > $log 2>&1; then
      say "gptqmodel does not install here ($log says why; pypcre may need python3-dev), so" \
          "tests/outsiders/gptqmodel_test.py is skipped; to try again: rm $stamp"
      rm -rf .venv/gptqmodel
    fi
  elif [ "$file" = requirements-rivals.txt ]; then
    rm -rf .venv/rivals
    "${install[@]}" --target .venv/rivals -r "$file" || { say "pip could not install $file (see above)"; exit 1; }
  else
    local what=(-r "$file")
    # shellcheck disable=SC2206  # may hold options of pip beside the requirement
    [ "$file" != requirements.txt ] || [ -z "${LRQAT_TORCH:-}" ] || what=($LRQAT_TORCH)
    "${install[@]}" "${what[@]}" || { say "pip could not install ${what[*]} (see above); the next call tries again"; exit 1; }
  fi
  cp "$file" "$stamp"
}

has_gpu() { [ -e /dev/nvidia0 ] || nvidia-smi -L >/dev/null 2>&1; }

# Another wheel than before is asked for: torch is installed anew.
choice=.venv/torch-wheel
if [ -n "${LRQAT_TORCH:-}" ] && [ "$LRQAT_TORCH" != "$(cat $choice 2>/dev/null)" ]; then
  rm -f .venv/requirements.txt.installed
fi
new_torch=
cmp -s requirements.txt .venv/requirements.txt.installed || new_torch=1
install_file requirements.txt
[ -z "${LRQAT_TORCH:-}" ] || echo "$LRQAT_TORCH" > $choice

if compgen -G '.venv/lib/python3*/site-packages/torch/lib/libtorch_cuda.so' >/dev/null; then
  install_file requirements-cudart.txt "torch is the CUDA wheel"
  if [ "${CPU_ONLY:-0}" = 1 ]; then
    :
  elif has_gpu; then
    install_file requirements-cuda.txt "for --device cuda on this machine's NVIDIA GPU; CPU_ONLY=1 leaves it out"
  elif [ -n "$tests" ]; then
    install_file requirements-cuda.txt \
      "the tests' import torch needs it with the CUDA wheel; CPU_ONLY=1 leaves it out and skips those tests"
  fi
elif [ -n "$new_torch" ] && [ "${CPU_ONLY:-0}" != 1 ] && has_gpu; then
  say "this machine has an NVIDIA GPU, but the torch installed is the CPU wheel, so --device cuda cannot work;" \
      "LRQAT_TORCH=torch===2.13.0 make setup installs the CUDA wheel"
fi
for file in ${requirements[@]+"${requirements[@]}"}; do install_file "$file"; done
