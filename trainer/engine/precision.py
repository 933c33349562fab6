"""In which types a run computes and holds its weights: what `training.precision` asks for, on the device that there is.

Test: tests/trainer/engine/test_precision.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from finetune.api.errors import InputError
from finetune.api.sections import Deepspeed, Precision
from finetune.api.trainconfig import TrainConfig

DTYPES = {
    Precision.FLOAT32: torch.float32,
    Precision.TF32: torch.float32,
    Precision.BFLOAT16: torch.bfloat16,
    Precision.FLOAT16: torch.float16,
}
"""The type that forward and backward compute in."""
TF32_SINCE = (8, 0)
"""Compute capability of the first NVIDIA cards with TF32 (Ampere)."""


def precision_of(config: TrainConfig, device: torch.device) -> Precision:
    """Return the precision that takes effect, never `auto`; `tf32` is float32 where the device has no TF32."""
    wanted = config.training.precision
    if wanted is Precision.AUTO:
        if device.type != "cuda":
            return Precision.FLOAT32
        # Cards without it emulate it, far slower than they compute in float16.
        return Precision.BFLOAT16 if torch.cuda.is_bf16_supported(including_emulation=False) else Precision.FLOAT16
    if wanted is Precision.TF32 and not _has_tf32(device):
        return Precision.FLOAT32
    return wanted


def set_matrix_products(precision: Precision, device: torch.device) -> None:
    """Have float32 matrix products of this process computed in TF32 or exactly, on a GPU; elsewhere they stay as they are.

    Through torch's older setting: once the newer `torch.backends.cuda.matmul.fp32_precision` has been set, reading the older one raises,
    which torch's own compiler does.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if precision is Precision.TF32 else "highest")


@contextmanager
def exact_products() -> Iterator[None]:
    """Have float32 matrix products computed exactly meanwhile, for figures that are compared with others to float32's last bits.

    TF32 rounds their factors to float16's 11 significant bits, by which two ways to compute the same thing differ.
    """
    before = torch.get_float32_matmul_precision()
    if before == "highest":  # a process that has set nothing stays as it is
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def weights_dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """Return the type to load the weights in.

    That of the arithmetic where they are frozen (LoRA) or DeepSpeed keeps float32 masters of them (stages 1 to 3). Without masters a
    trained weight has to be float32: in 16 bits a small update of it would be rounded away (`check_masters`). So have those under OSF,
    although they are frozen: its export is the merged model, where such an update would be lost, and its directions take ten times as
    much memory.
    """
    masters = config.workers.deepspeed is not None and config.workers.deepspeed.zero_stage > 0
    held = masters or config.method.lora is not None
    return DTYPES[precision_of(config, device)] if held else torch.float32


def check_masters(model: nn.Module) -> None:
    """Raise RuntimeError where an engine without float32 masters is given weights of 16 bits to train."""
    narrow = (torch.float16, torch.bfloat16)
    rounded = [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.dtype in narrow]
    if rounded:
        raise RuntimeError(f"{len(rounded)} weights, such as {rounded[0]}, would be trained in 16 bits, which lose small updates")


def refuse_float16_on_this_cpu(section: Deepspeed, dtype: torch.dtype, device: torch.device) -> None:
    """Raise InputError where DeepSpeed's stages 1 to 3 cannot compute in float16: on a CPU without such instructions."""
    wanted = section.zero_stage > 0 and dtype is torch.float16 and device.type == "cpu"
    if wanted and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        raise InputError("training.precision", "this CPU cannot compute in float16 under DeepSpeed", "use float32, or bfloat16")


def refuse_float16_offloaded(section: Deepspeed, dtype: torch.dtype) -> None:
    """Raise InputError where DeepSpeed 0.19 keeps what overflowed: one step that overflows would make all later ones overflow."""
    if dtype is torch.float16 and section.zero_stage in (1, 2) and section.offload is not None and section.offload.optimizer:
        raise InputError(
            "distributed.deepspeed.offload",
            "under stages 1 and 2 DeepSpeed keeps a gradient that overflowed float16 in the worker's memory, which spoils later steps",
            "set zeroStage to 3, or training.precision to bfloat16 or float32",
        )


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= TF32_SINCE
