"""Turn a GGUF file into a folder that can be trained: dequantized once, cached, safe with several ranks at once.

A separate process does the work (`python -m trainer.model.gguf FILE FOLDER`), because in a worker
transformers may be set to shard every weight that it loads (ZeRO-3). Test: tests/trainer/model/test_gguf.py.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from finetune.system.interpreter import ROOT, lasting_python_path
from trainer.storage.digest import sha256_of
from trainer.storage.localfolder import LocalFolder

CACHE_VARIABLE = "FINETUNE_CACHE"
FORMAT_VERSION = 1
"""Part of a folder's name; increase it when the conversion gives another result."""
TAIL_CHARACTERS = 2000


def cache_directory() -> Path:
    """Return the cache folder: FINETUNE_CACHE, else ~/.cache/finetune-operator."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else Path.home() / ".cache" / "finetune-operator"


def dequantized_folder(file: Path, convert: Callable[[Path, Path], None] | None = None) -> Path:
    """Return the folder with the dequantized model (float32 safetensors, tokenizer, generation config), making it if needed.

    Only one process makes it, under a lock, and others see it whole or not at all. `convert(file, folder)` does the work.
    """
    models = cache_directory() / "models"
    folder = models / f"{sha256_of(file)[:32]}-v{FORMAT_VERSION}"
    if folder.is_dir():
        return folder
    try:
        models.mkdir(parents=True, exist_ok=True)
        with _locked(models / f"{folder.name}.lock"):
            if not folder.is_dir():
                with LocalFolder(models).stage(folder.name) as staged:
                    (convert or convert_in_child)(file, staged.folder)
                    staged.publish()
    except PermissionError as error:
        raise RuntimeError(f"the cache {models} cannot be written ({error.strerror}); set {CACHE_VARIABLE} to a folder that can") from error
    return folder


def convert_in_child(file: Path, folder: Path) -> None:
    """Run the conversion in a child process; raises RuntimeError with the end of its output when it fails."""
    path = os.pathsep.join([str(ROOT), *lasting_python_path(os.environ)])
    # No GPU and one accelerator that needs no probing: the child only rewrites numbers.
    environment = os.environ | {
        "PYTHONPATH": path,
        "PYTHONUTF8": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "DS_ACCELERATOR": "cpu",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-P", "-m", "trainer.model.gguf", str(file), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        raise RuntimeError(f"{file} could not be dequantized (exit code {done.returncode}): {done.stderr[-TAIL_CHARACTERS:]}")


def convert(file: Path, folder: Path) -> None:
    """Write the model of a GGUF file as save_pretrained writes it, in float32, with its tokenizer and chat template."""
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise ValueError(f"{file} is not a GGUF file")

    import gguf
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # transformers parses the file for the configuration, the weights and the tokenizer each, and makes the map of names
    # for every module; both take seconds and give the same each time.
    gguf.GGUFReader = cache(gguf.GGUFReader)
    gguf.get_tensor_name_map = cache(gguf.get_tensor_name_map)
    # Without dequantize the weights stay in GGUF blocks, which neither train nor save.
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold an exclusive lock that the kernel releases when the holder dies."""
    with file.open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
