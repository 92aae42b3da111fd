#!/usr/bin/env bash
# From a fresh clone to a better model: installs into .venv, then two rounds of RAFT on small arithmetic, on the CPU.
#   bash scripts/quickstart.sh                                 bash scripts/quickstart.sh rounds=1 method.samples=4
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install.sh
exec .venv/bin/selfimprove run recipes/quick/raft.yaml "$@"
