#!/usr/bin/env bash
# Installs into .venv where needed and runs every test: quick and slow ones two at a time, then those with a vLLM engine,
# which takes all cores, one after the other. Anything given goes to pytest: bash scripts/test.sh tests/methods -x
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install.sh
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

alone="vllm"
if command -v nvidia-smi > /dev/null && nvidia-smi -L 2> /dev/null | grep -q GPU; then alone="vllm or gpu"; fi

run() { # pytest says 5 where the given arguments select no test of this half
    local status=0
    .venv/bin/python -m pytest "$@" || status=$?
    ((status == 5)) && return 0
    ran=1
    ((status == 0)) || failed=1
}

ran=0 failed=0
OMP_NUM_THREADS=1 run -n 2 --dist worksteal "$@"
OMP_NUM_THREADS=1 run -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not ($alone)" --durations 15 "$@"
run -m "$alone" --durations 5 "$@"
if ((ran == 0)); then echo "no test matches: $*" >&2; exit 5; fi
exit "$failed"
