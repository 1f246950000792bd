#!/usr/bin/env bash
# Installs what is missing, and only that: Debian packages (through sudo where not root) and the virtual environment
# .venv with the pinned packages of requirements.txt.
#   tools/setup.sh           what building and running need
#   tools/setup.sh --tests   also requirements-test.txt: the outsiders that the tests compare with
#   tools/setup.sh --demo    also requirements-demo.txt: the model of the demo
#   tools/setup.sh --study   also requirements-study.txt: what draws the plots of the study
#   tools/setup.sh --lint    also clang-format and clang-tidy
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ cmake make ninja-build ccache pkg-config python3-venv nlohmann-json3-dev libcli11-dev libpcre2-dev
          libutf8proc-dev libgtest-dev libbenchmark-dev xz-utils)
requirements=(requirements.txt)
for argument in "$@"; do
  case "$argument" in
    --tests) requirements+=(requirements-test.txt requirements-gptqmodel.txt) ;;
    --demo) requirements+=(requirements-demo.txt) ;;
    --study) requirements+=(requirements-study.txt) ;;
    --lint) packages+=(clang-format clang-tidy) ;;
    *) echo "tools/setup.sh: unknown argument $argument (known: --tests, --demo, --study, --lint)" >&2; exit 2 ;;
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
  echo "installing Debian packages: ${missing[*]}" >&2
  sudo=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "tools/setup.sh: not root and no sudo; install: ${missing[*]}" >&2; exit 1; }
    sudo=(sudo)
  fi
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

[ -x .venv/bin/python ] || python3 -m venv .venv
for file in "${requirements[@]}"; do
  stamp=".venv/$(basename "$file").installed"
  cmp -s "$file" "$stamp" && continue
  echo "installing $file into .venv" >&2
  # --no-deps: the files pin everything, so no package can pull in another torch.
  install=(.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps)
  if [ "$file" = requirements-gptqmodel.txt ]; then  # beside the others, and only where it installs
    rm -rf .venv/gptqmodel
    if ! "${install[@]}" --no-build-isolation --target .venv/gptqmodel -r "$file"; then
      echo "gptqmodel does not install here: tests/outsiders/gptqmodel_test.py is skipped" >&2
      continue
    fi
  else
    "${install[@]}" -r "$file"
  fi
  cp "$file" "$stamp"
done
