#!/usr/bin/env bash
# Collects the wheels that `make gpu` needs on a machine for training, at the versions of constraints.txt: scripts/gpu_wheels.sh FOLDER
# Not among them: what such a machine has with its torch (transformers, peft, accelerate, safetensors, numpy, pyarrow, rich, pytest, …).
set -euo pipefail
folder=$(realpath -m "${1:?usage: scripts/gpu_wheels.sh FOLDER [python version, default 3.12]}")
version=${2:-3.12}
cd "$(dirname "$0")/.."

pinned() {
    grep -E "^($1)==" constraints.txt | sed 's/ *;.*//'
}

mkdir -p "$folder"
platforms=()
for glibc in 28 27 17; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
download=(python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder")
mapfile -t binary < <(pinned 'annotated-types|hjson|msgpack|pydantic|pydantic-core|pydantic_core|typing-inspection')
"${download[@]}" --only-binary=:all: --implementation cp --python-version "$version" "${platforms[@]}" --platform manylinux2014_x86_64 "${binary[@]}"
# DeepSpeed has no wheel on an index. Its operations are compiled at first use, and this project uses none.
DS_BUILD_OPS=0 python3 -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$folder" "$(pinned deepspeed)" ||
    echo "gpu_wheels: no wheel of deepspeed could be built: its tests will be skipped" >&2
# bitsandbytes carries a library for every version of CUDA, 43 MB; only those of CUDA 13 travel, 7 MB.
"${download[@]}" --only-binary=:all: --python-version "$version" "${platforms[@]}" --platform manylinux_2_24_x86_64 \
    "$(pinned bitsandbytes)"
python3 - "$folder"/"$(pinned bitsandbytes | sed 's/==/-/')"-*.whl <<'PYTHON'
import re
import sys
import zipfile
from pathlib import Path

wheel = Path(sys.argv[1])
with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(wheel.with_suffix(".part"), "w", zipfile.ZIP_DEFLATED) as part:
    for name in whole.namelist():
        if not re.search(r"libbitsandbytes_(cuda1[12]|rocm|xpu)", name):
            part.writestr(name, whole.read(name))
wheel.with_suffix(".part").replace(wheel)
PYTHON
du -sh "$folder"
