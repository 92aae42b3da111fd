#!/usr/bin/env bash
# Installs into .venv where needed and runs every test: the quick ones side by side, then those with real models
# one after the other. Anything given goes to pytest: bash scripts/test.sh tests/methods -x
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install.sh
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

marked="slow or vllm"
if command -v nvidia-smi > /dev/null && nvidia-smi -L 2> /dev/null | grep -q GPU; then marked="$marked or gpu"; fi

run() { # pytest says 5 where the given arguments select no test of this half
    local status=0
    .venv/bin/python -m pytest "$@" || status=$?
    ((status == 5)) && return 0
    ran=1
    ((status == 0)) || failed=1
}

ran=0 failed=0
OMP_NUM_THREADS=1 run -n 2 --dist worksteal "$@"
run -m "$marked" --durations 15 "$@"
if ((ran == 0)); then echo "no test matches: $*" >&2; exit 5; fi
exit "$failed"
