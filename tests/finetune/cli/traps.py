"""Files that run code when a careless program reads them, under the names that such programs look for. Not a test.

Each trap leaves a file of its name when it goes off.
"""

import contextlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.finetune.cli.wholerun import environment

PICKLES = (
    "training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "rng_state.pth", "rng_state_0.pth", "scaler.pt",
    "adapter_model.bin", "random_states_0.pkl", "state.pt", "parameters.pt", "global_step1/mp_rank_00_model_states.pt",
    "global_step1/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "pytorch_model/mp_rank_00_model_states.pt",
)  # fmt: skip
"""State of Trainer, accelerate, peft, torch and DeepSpeed (whose file `latest` names the folder)."""
MODULES = (
    "configuration_trap", "modeling_trap", "tokenization_trap", "sitecustomize", "usercustomize", "__init__", "conftest", "zero_to_fp32",
    "torch", "custom_generate/generate",
)  # fmt: skip
CARELESS = """
import sys, transformers
for kind in ("AutoConfig", "AutoTokenizer", "AutoModelForCausalLM"):
    try:
        getattr(transformers, kind).from_pretrained(sys.argv[1], trust_remote_code=True)
    except Exception as error:
        print(kind, error)
"""
REMOTE = {"config.json": "AutoConfig", "tokenizer_config.json": "AutoTokenizer", "generation_config.json": ""}
"""Files that say where a model's code is."""


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self._path}'",)


@dataclass(frozen=True)
class Traps:
    """Sets traps into folders. `marks` is where they leave their files."""

    marks: Path

    def pickles(self, folder: Path) -> None:
        """Put pickles into a folder, half of them as torch writes them."""
        for number, name in enumerate(PICKLES):
            (folder / name).parent.mkdir(exist_ok=True)
            trap = Trap(self.marks / Path(name).name)
            if number % 2:
                (folder / name).write_bytes(pickle.dumps(trap))
            else:
                torch.save({"state": trap}, folder / name)
        (folder / "latest").write_text("global_step1")

    def modules(self, folder: Path) -> None:
        """Put modules into a folder, and into its configuration that they are the model's code."""
        for name in MODULES:
            (folder / f"{name}.py").parent.mkdir(exist_ok=True)
            (folder / f"{name}.py").write_text(f"open({str(self.marks / Path(name).name)!r}, 'w')\n")
        change(folder / "config.json", trust_remote_code=True, auto_map={
            "AutoConfig": "configuration_trap.Config", "AutoModelForCausalLM": "modeling_trap.Model",
        })  # fmt: skip
        change(folder / "tokenizer_config.json", trust_remote_code=True, auto_map={"AutoTokenizer": ["tokenization_trap.Tokenizer", None]})
        change(folder / "generation_config.json", trust_remote_code=True, custom_generate="custom_generate")

    def lay(self, *folders: Path) -> None:
        """Put all traps into folders; what is a file is left alone."""
        for folder in filter(Path.is_dir, folders):
            self.pickles(folder)
            self.modules(folder)

    def sprung(self) -> list[str]:
        """Return the traps that went off."""
        return sorted(path.name for path in self.marks.iterdir())

    def try_out(self, folder: Path, environment_of_use: dict[str, str] | None = None) -> set[str]:
        """Read a folder as careless programs do; return the traps that went off, and set them back."""
        for name in PICKLES:
            with contextlib.suppress(Exception):  # of a pickle that is no file of torch, after it has run
                torch.load(folder / name, weights_only=False)
        careless = environment(environment_of_use)
        subprocess.run([sys.executable, "-c", CARELESS, folder], env=careless, capture_output=True, check=False)
        subprocess.run([sys.executable, "-c", "import torch"], env=careless, cwd=folder, capture_output=True, check=False)
        found = set(self.sprung())
        for name in found:
            (self.marks / name).unlink()
        return found


WORKING = {Path(name).name for name in PICKLES} | {"configuration_trap", "torch"}
"""Traps that `try_out` springs in a folder with a model's configuration: once the configuration is code, nothing else is read."""


def change(file: Path, **members: object) -> None:
    """Set members of a JSON file."""
    known = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(known | members))


def code_in(folder: Path) -> list[str]:
    """Return what below a folder is code or may hold some, and which configuration names code."""
    found = [path for path in folder.rglob("*") if path.suffix in (".py", ".pt", ".pth", ".bin", ".pkl")]
    named = [
        path
        for path in folder.rglob("*.json")
        if path.name in (*REMOTE, "adapter_config.json")
        and {"auto_map", "custom_generate", "trust_remote_code"} & {name for name, value in json.loads(path.read_text()).items() if value}
    ]
    return sorted(str(path.relative_to(folder)) for path in (*found, *named))
