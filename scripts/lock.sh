#!/usr/bin/env bash
# Compiles requirements/cpu.lock anew from requirements/cpu.in: the newest releases that are at least a week old.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh --functions-only
export UV_FIND_LINKS UV_TORCH_BACKEND
torch_source
{
    echo "# Every package of the CPU installation on Python 3.11, Linux x86_64. Made by scripts/lock.sh; do not edit."
    .venv/bin/uv pip compile requirements/cpu.in --override requirements/cpu-overrides.txt --quiet --no-header \
        --python-version 3.11 --exclude-newer "7 days" --no-emit-package selfimprove --no-annotate
} > requirements/cpu.lock.new
mv requirements/cpu.lock.new requirements/cpu.lock
echo "requirements/cpu.lock: $(grep -c == requirements/cpu.lock) packages"
