#!/usr/bin/env bash
# Tests and measures on a machine with a CUDA device and no network: called by `make gpu`, needs no set-up.
# PYTHON is the interpreter that has torch; what it lacks is installed from the wheels in WHEELS into a folder of its own, so that
# nothing of the machine changes. scripts/gpu_wheels.sh collects the wheels on a machine with a network.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
wheels=${WHEELS:-wheels}
"$python" -c 'import torch' 2>/dev/null || {
    echo "make gpu: $python has no torch; name the interpreter that has: make gpu PYTHON=/path/to/python" >&2
    exit 1
}
if [ -d "$wheels" ]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --disable-pip-version-check --target "$site" "$wheels"/*.whl
    export PYTHONPATH="$PWD:$site"
else
    export PYTHONPATH="$PWD"
fi
"$python" -m bench.gpu "$@"
