"""Where this rank's part of a parameter lies in DeepSpeed's flat partitions: read and written here without the other ranks.

With deepspeed.py the only module that names DeepSpeed's internals. Stages 1 and 2 cut a group of parameters, laid end to end,
into one partition for each rank, so that a rank may have none, some or all of a parameter. Stage 3 cuts each parameter by itself,
and fills the last part up. Test: tests/trainer/engine/test_invariance.py.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch.distributed
from torch import Tensor, nn


def is_sharded(parameter: nn.Parameter) -> bool:
    """Return whether DeepSpeed has given this rank a part of the parameter's state only."""
    return hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping")


def shape_of(parameter: nn.Parameter) -> tuple[int, ...]:
    """Return the parameter's whole shape, which it does not have itself while stage 3 has it in parts."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def range_of(parameter: nn.Parameter) -> tuple[int, int]:
    """Return begin and end of this rank's part of the flattened parameter; they are equal when it has none."""
    sharded: Any = parameter
    if hasattr(sharded, "ds_id"):
        size = sharded.partition_numel()
        begin = min(sharded.ds_numel, size * torch.distributed.get_rank(sharded.ds_process_group))
        return begin, min(sharded.ds_numel, begin + size)
    if sharded._hp_mapping is None:
        return 0, 0
    address = sharded._hp_mapping.lp_fragment_address
    return address.start, address.start + address.numel


def part_of(parameter: nn.Parameter, slot: str) -> Tensor:
    """Return this rank's part of a parameter in float32, or of one of its slots: one dimension, in the optimizer's own memory."""
    begin, end = range_of(parameter)
    sharded: Any = parameter
    if begin == end:
        return torch.empty(0)
    if hasattr(sharded, "ds_id"):
        # Its public get_local_fp32_param copies to the GPU what is offloaded.
        padded, _ = sharded._z3_optimizer._get_fp32_opt_state_partition(parameter, release_swap_buffers=True, optim_state_key=slot or None)
        part: Tensor = padded.detach()[: end - begin]
        return part
    part = sharded._hp_mapping.get_hp_fragment(slot or None)
    return part.detach()


HELD = -1
"""In the place of a layer's number: DeepSpeed gives a parameter back only if no layer needs it."""


@contextmanager
def gathered(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Have all of stage 3's parameters whole meanwhile, although each layer gives its own back after its forward pass.

    All ranks must enter it, and take the same forward passes, without gradients: the hooks still compare what the ranks do.
    """
    from deepspeed.runtime.zero import GatheredParameters

    held: list[Any] = list(parameters)
    with ExitStack() as stack:
        for parameter in held:
            if parameter.ds_status.name != "AVAILABLE":  # small ones are whole at all times
                stack.enter_context(GatheredParameters([parameter]))
            parameter.ds_active_sub_modules.add(HELD)
        try:
            yield
        finally:
            for parameter in held:
                parameter.ds_active_sub_modules.discard(HELD)


def sharded_bytes(parameters: Iterable[nn.Parameter]) -> int:
    """Return what `gathered` takes on this rank."""
    missing: list[Any] = [parameter for parameter in parameters if parameter.ds_status.name != "AVAILABLE"]  # type: ignore[attr-defined]
    return sum(parameter.ds_numel * parameter.element_size() for parameter in missing)


def refresh_weights(optimizer: Any) -> None:
    """Have the weights that forward reads follow the float32 ones, which were changed; all ranks must call it."""
    if hasattr(optimizer, "update_lp_params"):
        optimizer.update_lp_params()
        return
    optimizer._partition_all_parameters()
    for group in range(len(optimizer.fp16_groups)):
        optimizer._reassign_or_swap_out_partitioned_parameters(group)
    if optimizer.persistent_parameters:  # small ones, which every rank has whole
        optimizer.persistent_parameters[0].all_gather(optimizer.persistent_parameters)
