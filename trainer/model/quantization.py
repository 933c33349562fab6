"""A frozen base model in 4 bits, by bitsandbytes: whether it can be had, how transformers is asked for it, and how it is called.

bitsandbytes is an extra. PEFT imports it wherever it is installed, which takes every rank of every job 1.3 s, so it is not among the
trainer's own packages. The checks use this module without torch. Test: tests/trainer/model/test_quantization.py.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from finetune.api.errors import InputError
from finetune.api.sections import Method, Quantization

if TYPE_CHECKING:
    import torch

FIELD = "method.lora.quantization"
BLOCK = 64
"""Weights that share a scale."""


def quantization_of(method: Method) -> Quantization | None:
    """Return how the base model is quantized; None if it is not."""
    return method.lora.quantization if method.lora is not None else None


def check_available(quantization: Quantization | None) -> None:
    """Raise InputError if weights are to be quantized and the package for it is not installed here."""
    if quantization is not None and find_spec("bitsandbytes") is None:
        fix = "install it (the extra qlora of finetune-operator has it), or leave quantization out"
        raise InputError(FIELD, "needs the package bitsandbytes, which is not installed where the trainer runs", fix)


def in_words(quantization: Quantization) -> str:
    """Return how the quantized weights are held, such as `nf4 (4-bit, double quantization)`."""
    return f"{quantization.type} (4-bit{', double quantization' if quantization.double_quantization else ''})"


def finding_of(quantization: Quantization) -> str:
    """Return what the report has to say about the figures of a quantized model."""
    return (
        f"the base model is trained and measured with weights in {in_words(quantization)}: all figures, of base and tuned model, are of"
        " that model. A merged export has the original weights with the adapter added, which give slightly different answers"
    )


def load_options(
    quantization: Quantization, compute_dtype: "torch.dtype", device: "torch.device", whole: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the arguments with which transformers loads weights quantized, on the device, one tensor after the other.

    The modules of `whole` are not quantized: a head that is trained itself. By default transformers leaves out the output layer.
    """
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.type.value,
        bnb_4bit_use_double_quant=quantization.double_quantization,
        bnb_4bit_compute_dtype=compute_dtype,
        llm_int8_skip_modules=list(whole) or None,  # its name is older than 4 bits
    )
    return {"quantization_config": config, "device_map": {"": device}}


def refuse_unfit(model: Any) -> None:
    """Raise InputError for a model, not yet quantized, whose layers cannot be; for one without weights too.

    bitsandbytes shares a scale among 64 weights that follow each other. Where a row does not consist of whole blocks its CPU kernel takes
    the scales of other blocks, and on a GPU its results are right: the model that is exported would not be the one that was trained.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear | Conv1D)}
    inside = {name: layer for name, layer in layers.items() if layer is not model.get_output_embeddings()}
    widths = {name: layer.nx if isinstance(layer, Conv1D) else layer.in_features for name, layer in inside.items()}
    odd = next((name for name, width in widths.items() if width % BLOCK), None)
    problem = f"{type(model).__name__} has no linear layer that can be quantized" if not widths else None
    if odd is not None:
        problem = f"{odd} has {widths[odd]} inputs, and bitsandbytes quantizes {BLOCK} at a time"
    if problem is not None:
        raise InputError(FIELD, problem, "leave quantization out for this model")


def settle(model: Any) -> None:
    """Keep quantized weights as they are.

    On CPUs with AVX512-BF16 bitsandbytes would repack the weights at the first evaluation and round their scales: the model would not be
    the one that was trained, and a resumed run another than an unbroken one.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
