"""Whether a model, on the hub or in a folder, has weights that can be loaded, judging by the names of its files.

Pure. Tests: tests/trainer/hub/test_models.py, tests/trainer/model/test_folder.py, tests/trainer/using/test_found.py.
"""

from collections.abc import Iterable

from finetune.api.errors import InputError

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
LAYOUT = "give a folder as written by save_pretrained of model and tokenizer"


def check_weight_names(names: Iterable[str], field: str, where: str) -> None:
    """Raise InputError unless a model's file names show weights in safetensors; `where` names the folder or repository."""
    present = set(names)
    if WEIGHTS in present or WEIGHTS_INDEX in present:
        return
    if ADAPTER_WEIGHTS in present:
        raise InputError(field, f"{where} holds an adapter, not a whole model", "name the adapter's base model, or merge the two first")
    _refuse_pickles(present, field, where)
    if any(name.endswith(".gguf") for name in present):
        raise InputError(field, f"{where} has weights only as GGUF", "give the model in safetensors; GGUF is made for inference")
    raise InputError(field, f"{where} has no weights (no {WEIGHTS}, no {WEIGHTS_INDEX})", LAYOUT)


def check_adapter_names(names: Iterable[str], field: str, where: str) -> None:
    """Raise InputError unless an adapter's file names show weights in safetensors; peft would read a pickle, or ask the hub."""
    present = set(names)
    if ADAPTER_WEIGHTS not in present:
        _refuse_pickles({name for name in present if name.startswith("adapter_model.")}, field, where)
        raise InputError(
            field, f"{where} has no weights (no {ADAPTER_WEIGHTS})", "give the folder of an adapter as peft's save_pretrained writes it"
        )


def _refuse_pickles(names: Iterable[str], field: str, where: str) -> None:
    pickles = sorted(name for name in names if name.endswith(PICKLE_SUFFIXES) and name != "training_args.bin")
    if pickles:
        fix = "load it where you trust it and save it again with save_pretrained, which writes safetensors"
        raise InputError(field, f"{where} has weights only as pickle ({pickles[0]}), which can run code when it is read", fix)
