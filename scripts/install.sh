#!/usr/bin/env bash
# Makes .venv with everything for a machine without GPU, from requirements/cpu.lock. Fast when nothing changed.
#   bash scripts/install.sh            PYTHON=/path/to/python3.12 bash scripts/install.sh
set -euo pipefail

say() { printf 'selfimprove: %s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }

find_python() {
    # 3.11 first, because the lock was compiled for it; others resolve the same versions anew.
    local name
    for name in ${PYTHON:+"$PYTHON"} python3.11 python3 python3.12 python3.13; do
        if "$name" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info < (3, 14))' 2> /dev/null; then
            command -v "$name"
            return
        fi
    done
    stop "Python 3.11, 3.12 or 3.13 is needed and none was found. On Debian or Ubuntu: apt-get install python3" \
        "python3-venv python3-dev; or name one: PYTHON=/path/to/python3.11 bash scripts/install.sh"
}

check_tools() { # what an installation would otherwise stumble over half-way
    local python=$1 packages=()
    "$python" -c 'import ensurepip, venv' 2> /dev/null || packages+=(python3-venv)
    command -v g++ > /dev/null || packages+=(g++)
    "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2> /dev/null \
        || packages+=(python3-dev)
    ((${#packages[@]} == 0)) || stop "missing on this machine: ${packages[*]} (a library is compiled during the" \
        "installation, and DeepSpeed compiles at its first use). On Debian or Ubuntu: apt-get install ${packages[*]}"
}

torch_source() {
    # The CPU build of PyTorch: a wheel in one of the folders or pages of PIP_FIND_LINKS, else PyTorch's own CPU index.
    local place
    for place in ${PIP_FIND_LINKS:-}; do
        if [[ $place == *://* ]] || compgen -G "$place/torch-*+cpu*.whl" > /dev/null; then
            UV_FIND_LINKS=${PIP_FIND_LINKS// /,}
            return
        fi
    done
    UV_TORCH_BACKEND=cpu
}

stamp() { # of what is installed: the lock, the project's own metadata, the interpreter
    cat requirements/cpu.lock requirements/cpu.in requirements/cpu-overrides.txt pyproject.toml \
        | { cat; echo "$PWD"; readlink -f .venv/bin/python; } | sha256sum | cut -d ' ' -f 1
}

install() {
    if [[ -f .venv/installed && "$(cat .venv/installed)" == "$(stamp)" ]]; then return; fi
    local python began=$SECONDS uv=.venv/bin/uv
    python=$(find_python)
    check_tools "$python"
    if [[ -e .venv ]] && ! .venv/bin/python -c '' 2> /dev/null; then
        say ".venv does not start any more (was its Python removed?); making it anew"
        rm -rf .venv
    fi
    say "installing into $PWD/.venv (about 3 GB; minutes at the first time)"
    [[ -e .venv ]] || "$python" -m venv .venv
    [[ -x $uv ]] || .venv/bin/python -m pip install -qq --disable-pip-version-check "$(grep '^uv==' requirements/cpu.lock)"
    export VIRTUAL_ENV=$PWD/.venv UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180} UV_FIND_LINKS UV_TORCH_BACKEND
    [[ -z ${PIP_INDEX_URL:-} || -n ${UV_DEFAULT_INDEX:-} ]] || export UV_DEFAULT_INDEX=$PIP_INDEX_URL
    torch_source
    if .venv/bin/python -c 'import sys; raise SystemExit(sys.version_info[:2] != (3, 11))'; then
        $uv pip install --quiet --no-deps -r requirements/cpu.lock
    else
        $uv pip install --quiet -r requirements/cpu.in -c requirements/cpu.lock --override requirements/cpu-overrides.txt
    fi
    $uv pip install --quiet --no-deps -e .
    .venv/bin/python -c 'import selfimprove' || stop "the installation is not usable; remove .venv and try again"
    stamp > .venv/installed
    say "installed in $((SECONDS - began)) s"
}

if [[ ${1:-} != --functions-only ]]; then
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    install
fi
