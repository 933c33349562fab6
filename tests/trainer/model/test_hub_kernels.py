"""A model's configuration cannot have code of the hub run as its attention (as in CVE-2026-4372), where the package for that is installed.

The package here is a stand-in that says what it was asked for. That transformers asks it is tried first.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import REPOSITORY
from tests.trainer.fixtures.causal import tiny_learner

pytestmark = pytest.mark.timeout(300)

KERNELS = """
import os
class Anything:
    def __init__(self, *arguments, **options): ...
    def __call__(self, *arguments, **options): return arguments[0] if arguments else self
def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Anything
def get_kernel(name, *arguments, **options):
    open(os.environ["ASKED_FOR"], "a").write(name + "\\n")
    raise RuntimeError("no kernel")
"""
CHANGES = [
    {name: value}
    for name in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation")
    for value in ("attacker/kernel", "kernels-community/flash-attn2", {"": "attacker/kernel"})
]
PROGRAM = """
import json, sys
from pathlib import Path
import torch, transformers
from finetune.api.errors import InputError
from finetune.api.sources import ModelSource
from trainer.model.load import load_model
from trainer.model.location import locate
from trainer.objectives.causal import CAUSAL
folder, asked, changes = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
try:
    transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="attacker/kernel", allow_all_kernels=True)
except ValueError:
    pass
said, config = [asked.read_text()], json.loads((folder / "config.json").read_text())
asked.unlink()
for change in changes:
    (folder / "config.json").write_text(json.dumps(config | change))
    try:
        said.append(load_model(locate(ModelSource(path=str(folder))), torch.float32, CAUSAL.family).config._attn_implementation)
    except InputError as error:
        said.append(str(error))
print(json.dumps(said))
"""


def test_no_kernel_is_fetched_for_what_a_configuration_says(tmp_path: Path) -> None:
    tiny_learner(tmp_path / "model", width=32)
    package, version = tmp_path / "packages" / "kernels", tmp_path / "packages" / "kernels-0.18.5.dist-info"
    for folder in (package, version):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text(KERNELS)
    (version / "METADATA").write_text("Metadata-Version: 2.1\nName: kernels\nVersion: 0.18.5\n")
    (version / "RECORD").write_text("kernels/__init__.py,,\n")
    path = os.pathsep.join(map(str, (REPOSITORY, package.parent)))
    environment = os.environ | {"PYTHONPATH": path, "ASKED_FOR": str(tmp_path / "asked"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", PROGRAM, tmp_path / "model", tmp_path / "asked", json.dumps(CHANGES)]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    careless, *said = json.loads(done.stdout.splitlines()[-1])
    assert careless == "attacker/kernel\n", "the trap works"
    assert not (tmp_path / "asked").exists()
    assert [each for each in said if "code of the hub that would be fetched and run" not in each] == []
