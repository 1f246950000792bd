#!/usr/bin/env bash
# Shows that a fresh clone builds, runs the demo and passes its tests with torch's CPU wheel and with its CUDA wheel on a
# machine without CUDA. Clones HEAD into a temporary folder for each wheel, sets up there, hides every CUDA folder of the
# system and runs make; says at the end what passed, and ends with 1 where something did not.
#   tools/check_wheels.sh                                     both wheels, make demo and make test (hours on two cores)
#   tools/check_wheels.sh --wheel cuda --only build           one wheel; build, demo, test or several: --only demo,test
#   tools/check_wheels.sh --keep                              leaves the clones, to look at
# Whatever environment variables make takes (JOBS, TEST_ARGS, CPU_ONLY) are handed on.
set -euo pipefail
cd "$(dirname "$0")/.."

wheels=(cpu cuda)
steps=(demo test)
keep=
while [ $# -gt 0 ]; do
  case "$1 ${2:-}" in
    "--wheel cpu"|"--wheel cuda") wheels=("$2"); shift ;;
    "--only "?*) IFS=, read -ra steps <<< "$2"; shift ;;
    "--keep "*) keep=1 ;;
    *) echo "usage: tools/check_wheels.sh [--wheel cpu|cuda] [--only build,demo,test] [--keep]" >&2; exit 2 ;;
  esac
  shift
done
for step in "${steps[@]}"; do
  case "$step" in build|demo|test) ;; *) echo "--only $step: known are build, demo, test" >&2; exit 2 ;; esac
done

# Runs a command where no CUDA folder of the system can be seen: an empty file system is mounted over each, in a mount
# namespace of its own.
without_cuda() {
  local namespace=(unshare -m)
  [ "$(id -u)" = 0 ] || namespace=(unshare -rm)
  "${namespace[@]}" bash -c '
    for folder in /usr/local/cuda* /opt/cuda /usr/lib/cuda; do
      [ ! -d "$folder" ] || [ -L "$folder" ] || mount -t tmpfs none "$folder" || exit 1
    done
    exec "$@"' without_cuda "$@"
}
if ! without_cuda true 2>/dev/null; then
  echo "this user may not make a mount namespace: CUDA folders stay in sight, only the program's libraries are looked at" >&2
  without_cuda() { "$@"; }
fi

# The program must need nothing of CUDA but what lies beside torch, and must never link torch's CUDA library.
check_libraries() {
  local outside
  if readelf -d build/lrqat | grep -E 'NEEDED.*(libtorch_cuda|libc10_cuda|libtorch\.so)'; then
    echo "build/lrqat links more than torch's CPU library" >&2
    return 1
  fi
  outside=$(ldd build/lrqat | grep -E 'not found|/(cuda|nvidia)' | grep -v "=> $PWD/.venv/" || true)
  [ -z "$outside" ] || { echo "build/lrqat takes libraries from outside .venv, or misses them:
$outside" >&2; return 1; }
}

# One wheel in a clone of its own. Every line may fail, and the first that does ends it; FOLDER.at says which step it was.
check_wheel() (
  set -e
  wheel=$1 folder=$2
  at() { echo "$*" > "$folder.at"; echo "== $wheel wheel: $*"; }
  at git clone
  git clone --quiet . "$folder"
  cd "$folder"
  case "$wheel" in
    # LRQAT_TORCH_CPU: where pip's own index has the CUDA wheel alone, "torch===2.13.0+cpu --extra-index-url INDEX"
    cpu) export LRQAT_TORCH="${LRQAT_TORCH_CPU:-torch==2.13.0}" ;;
    cuda) export LRQAT_TORCH="torch===2.13.0" ;;
  esac
  at make setup
  make setup
  grep -E '^(__version__|cuda)' .venv/lib/python3*/site-packages/torch/version.py
  [ "$(compgen -G '.venv/lib/python3*/site-packages/torch/lib/libtorch_cuda.so' >/dev/null && echo cuda || echo cpu)" = "$wheel" ] ||
    { echo "the torch installed is not the $wheel wheel; LRQAT_TORCH_CPU says what pip is given for the CPU wheel" >&2; exit 1; }
  for step in "${steps[@]}"; do
    at make "$step"
    without_cuda make "$step"
    without_cuda build/lrqat --version
    without_cuda bash -c "$(declare -f check_libraries); check_libraries"
  done
)

[ -z "$(git status --porcelain)" ] || echo "what is not committed is not checked" >&2
folder=$(mktemp -d)
[ -n "$keep" ] && echo "clones are in $folder" || trap 'rm -rf "$folder"' EXIT
failed=0
for wheel in "${wheels[@]}"; do
  # Not in a condition: bash would then ignore failures inside.
  set +e; check_wheel "$wheel" "$folder/$wheel"; code=$?; set -e
  if [ $code = 0 ]; then
    summary+="$wheel wheel: ${steps[*]}: passed"$'\n'
  else
    summary+="$wheel wheel: FAILED at $(cat "$folder/$wheel.at") (exit code $code)"$'\n'
    failed=1
  fi
  [ -n "$keep" ] || rm -rf "${folder:?}/$wheel"
done
printf '%s' "$summary"
exit $failed
