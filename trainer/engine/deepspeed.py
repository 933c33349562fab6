"""DeepSpeed ZeRO stages 0 to 3 behind the Engine interface. With fragments.py the only module that names DeepSpeed's internals.

deepspeed is imported inside functions: importing it picks an accelerator, which must happen in the worker. The optimizer
is PyTorch's own, also where it is offloaded to the CPU, so DeepSpeed compiles nothing and no compiler is needed.
Test: tests/trainer/engine/test_invariance.py.
"""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from finetune.api.errors import InputError
from finetune.api.sections import Deepspeed, Offload
from trainer.engine.base import Engine, EngineSettings
from trainer.engine.ddp import routes_to_experts
from trainer.engine.fragments import gathered, is_sharded, part_of, range_of, refresh_weights, shape_of, sharded_bytes
from trainer.engine.gathering import gathered_parts
from trainer.engine.lossscale import FIRST_SCALE, LossScale
from trainer.engine.optimizer import set_learning_rate
from trainer.engine.precision import check_masters
from trainer.engine.room import has_room
from trainer.engine.state import PARAMETERS, EngineState, Keep, StatePart, StateSource, check_names, check_state, cloned
from trainer.outputs import logits_of

# A collective that takes longer means a lost rank; DeepSpeed's default changed between versions, so it is set here.
GROUP_TIMEOUT = timedelta(minutes=30)
REDUCE_BUCKET = 10**8
"""Elements that are reduced at once: 400 MB in float32, twice that with overlap. Interconnects reach their full rate far below it."""


def deepspeed_config(
    section: Deepspeed, settings: EngineSettings, device: torch.device, *, dtype: torch.dtype, world_size: int
) -> dict[str, Any]:
    """Return DeepSpeed's configuration with every value that its releases have changed set explicitly."""
    zero_stage = section.zero_stage
    # Stages 2 and 3 reduce in every micro-batch, on a stream of their own: stage 2 fills one bucket while it reduces another, stage 3
    # fills its bucket on that stream. Stage 1 reduces once a step, and would reduce in every micro-batch with overlap.
    overlap = device.type == "cuda" and zero_stage >= 2
    return {
        "train_batch_size": settings.micro_batch_size * settings.micro_batches_per_step * world_size,
        "train_micro_batch_size_per_gpu": settings.micro_batch_size,
        "gradient_accumulation_steps": settings.micro_batches_per_step,
        # Stage 0 is clipped by the engine, which has taken the norm.
        "gradient_clipping": settings.gradient_clipping if zero_stage > 0 else 0.0,
        "zero_allow_untested_optimizer": True,
        # It would refuse every offloaded optimizer but its own, which needs a compiler on the worker.
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": zero_stage,
            "contiguous_gradients": True,
            "overlap_comm": overlap,
            "reduce_scatter": True,
            "reduce_bucket_size": REDUCE_BUCKET,
            **_offload_config(section.offload, device),
        },
        "bf16": {"enabled": dtype is torch.bfloat16, "check_grad_overflow": False},
        # Left to itself it is the model's type, and in bfloat16 the sum over many micro-batches loses what the small ones add.
        # In bfloat16 this also has DeepSpeed run its BF16_Optimizer in place of the one of stage 1.
        "data_types": {"grad_accum_dtype": "fp32"},
        # Likewise the sum over ranks.
        "communication_data_type": "fp32",
        # Not DeepSpeed's dynamic scale: in the step that doubles it, DeepSpeed divides gradients by the new scale.
        "fp16": {"enabled": dtype is torch.float16, "loss_scale": FIRST_SCALE},
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }


def _offload_config(offload: Offload | None, device: torch.device) -> dict[str, Any]:
    """Return the settings of what is offloaded; page-locked memory, which a GPU copies from and to while it computes."""
    wanted = {"offload_optimizer": offload.optimizer, "offload_param": offload.parameters} if offload is not None else {}
    return {name: {"device": "cpu", "pin_memory": device.type == "cuda"} for name, is_wanted in wanted.items() if is_wanted}


def refuse_offload_of_experts(section: Deepspeed, trained: Iterable[str]) -> None:
    """Raise InputError for a model whose experts are modules, where stages 1 and 2 offload the optimizer.

    DeepSpeed copies the gradients of the parameters that were used last into memory of the host, which it never clears: an expert
    that no token chose would be trained with its gradient of an earlier step, which the norm that is clipped does not count, and the
    gradient of one that was chosen in an earlier micro-batch alone would be lost.
    """
    offloads = section.zero_stage in (1, 2) and section.offload is not None and section.offload.optimizer
    if offloads and routes_to_experts(trained):
        unchosen = "weights that got no gradient, such as experts that no token chose,"
        problem = f"ZeRO stage {section.zero_stage} would train {unchosen} with gradients of earlier steps"
        raise InputError("distributed.deepspeed.offload", problem, "leave it out for this model")


def start_deepspeed(device: torch.device) -> None:
    """Have DeepSpeed take over the process group; must happen before a model is loaded sharded. Safe to repeat."""
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    # Its shared-memory collective for inference would be compiled here; training does not call it.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=torch.distributed.get_backend(), timeout=GROUP_TIMEOUT, verbose=False)


def _share_directions(model: nn.Module) -> None:
    """Give all ranks rank 0's weak directions to begin with, which machines may compute in another order or with another sign.

    DeepSpeed makes parameters equal, and DistributedDataParallel buffers too.
    """
    for name, buffer in model.named_buffers():
        if "_osf_" in name:
            torch.distributed.broadcast(buffer, src=0)


class DeepspeedEngine(Engine):
    """A DeepSpeed engine; neither form of its training state, whole or in parts, depends on stage or world size."""

    def __init__(
        self, model: nn.Module, section: Deepspeed, settings: EngineSettings, device: torch.device, *, dtype: torch.dtype = torch.float32
    ) -> None:
        refuse_offload_of_experts(section, (name for name, parameter in model.named_parameters() if parameter.requires_grad))
        zero_stage = section.zero_stage
        if zero_stage == 0:
            check_masters(model)
        start_deepspeed(device)
        import deepspeed

        self.rank, self.world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.device, self.optimizer, self._stage, self.clipping = device, settings.optimizer, zero_stage, settings.gradient_clipping
        self.shards_parameters, self.shards_state = zero_stage == 3, zero_stage > 0
        # Stage 0 shards no masters, and DeepSpeed's own 16-bit wrapper hides the optimizer's state: there it is autocast, as under DDP.
        self.autocast = dtype if zero_stage == 0 and dtype is not torch.float32 else None
        self.loss_scale = LossScale() if dtype is torch.float16 else None
        held = dtype if zero_stage > 0 else torch.float32
        config = deepspeed_config(section, settings, device, dtype=held, world_size=self.world_size)
        model = model.to(device) if zero_stage < 3 else model
        if self.world_size > 1:
            _share_directions(model)
        self._engine, _, _, _ = deepspeed.initialize(model=model, optimizer=self.optimizer.build(model), config=config)
        self.model = self._engine.module
        # Left to itself, stage 1 and 2 link the slots after the first group's first step, when those of the second
        # group do not exist yet, and can then not gather them.
        self._create_slots()

    @property
    def _base_optimizer(self) -> torch.optim.Optimizer:
        """PyTorch's optimizer inside DeepSpeed's wrapper (stage 0 in float32 has no wrapper)."""
        optimizer: torch.optim.Optimizer = self._engine.optimizer
        return getattr(optimizer, "optimizer", optimizer)

    @property
    def _slot_of_group(self) -> dict[str, str]:
        """The groups of a training state, and the slot that each is kept in; the empty name stands for the parameter itself."""
        return {PARAMETERS: "", **{slot: slot for slot in self.optimizer.slots}}

    def forward(self, **inputs: Any) -> Tensor:
        """Return the logits."""
        with self.arithmetic():
            return logits_of(self._engine(**inputs))

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Gather the parameters of stage 3 where all ranks have the memory: once, not for every forward pass."""
        parameters = list(self.model.parameters()) if self.shards_parameters else []
        wanted = 2 * sharded_bytes(parameters)  # answers need memory too
        if parameters and not has_room(wanted, self.device, self.gather, trains_on=self.device):
            yield
            return
        with gathered(parameters):
            yield

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradient. DeepSpeed counts micro-batches itself; `step` on all but the last only advances its count."""
        if self.loss_scale is not None:
            if self.shards_state:
                self._engine.optimizer.loss_scale = self.loss_scale.scale  # DeepSpeed multiplies by it
            else:
                loss = loss * self.loss_scale.scale
        self._engine.backward(loss, scale_wrt_gas=False)
        if not last:
            self._engine.step()

    def step(self, learning_rate: float) -> Tensor | None:
        """Update the weights at the boundary that DeepSpeed has counted to."""
        for optimizer in {id(o): o for o in (self._engine.optimizer, self._base_optimizer)}.values():
            set_learning_rate(optimizer.param_groups, learning_rate)
        if self.shards_state:
            self._engine.step()
            if self.loss_scale is not None and not self.loss_scale.fits(overflowed=self._engine.optimizer.overflow):
                return None
            return torch.as_tensor(self._engine.get_global_grad_norm())
        # Stage 0 neither reports a norm nor knows of a scale. Its gradients are whole and averaged, as those of DistributedDataParallel.
        norm = self._clipped_norm()
        if norm is None:
            self._engine.zero_grad()  # its step, which counts the micro-batches, then changes nothing
        self._engine.step()
        return norm

    def state(self, keep: Keep = cloned) -> EngineState:
        """Gather parameters and slots; every rank takes part, rank 0 keeps the result."""
        state = EngineState(slots={slot: {} for slot in self.optimizer.slots})
        groups = state.groups()
        if self.shards_state:
            for group, name, value in gathered_parts(self.part(), self.gather, self.device):
                groups[group][name] = keep(value)
        elif self.rank == 0:
            for name, parameter in self.trainable():
                for group, slot in self._slot_of_group.items():
                    groups[group][name] = keep(self._own(parameter, slot).view(parameter.shape))
        return state

    def trained_elements(self) -> int:
        """Return how many numbers are trained; stage 3 has emptied the parameters themselves."""
        return sum(math.prod(shape_of(parameter)) for _, parameter in self.trainable())

    def parameters(self) -> dict[str, Tensor]:
        """Gather the parameters one by one; every rank takes part, rank 0 keeps the result."""
        found: dict[str, Tensor] = {}
        for name, parameter in self.trainable():
            value = self._gathered(parameter)
            if self.rank == 0:
                found[name] = value.detach().float().cpu()
        return found

    def part(self) -> StatePart:
        """Return this rank's parts of parameters and slots, as they lie in DeepSpeed's partitions."""
        parameters = dict(self.trainable())
        ranges = {name: range_of(parameter) for name, parameter in parameters.items()}
        ranges = {name: (begin, end) for name, (begin, end) in ranges.items() if begin < end}
        return StatePart(
            shapes={name: shape_of(parameter) for name, parameter in parameters.items()},
            ranges=ranges,
            groups={group: {name: part_of(parameters[name], slot) for name in ranges} for group, slot in self._slot_of_group.items()},
        )

    def load_state(self, state: StateSource, steps_done: int) -> None:
        """Read this rank's parts of parameters and slots."""
        check_state(state, [name for name, _ in self.trainable()], self.optimizer)
        for partition, kept in self._base_optimizer.state.items():
            kept.update(self.optimizer.counters(steps_done, partition.device))
        self._read(state, self._slot_of_group)

    def load_parameters(self, state: StateSource) -> None:
        """Read this rank's parts of the parameters."""
        check_names(state.names()[PARAMETERS], [name for name, _ in self.trainable()])
        self._read(state, {PARAMETERS: ""})

    def _read(self, state: StateSource, groups: Mapping[str, str]) -> None:
        """Read the given groups, each into what `_own` returns for its value, and bring the model's weights up to date."""
        for name, parameter in self.trainable():
            for group, slot in groups.items():
                begin, end = range_of(parameter) if is_sharded(parameter) else (0, parameter.numel())
                if begin < end:
                    self._own(parameter, slot).copy_(state.read(group, name, begin, end))
        if self.shards_state:
            refresh_weights(self._engine.optimizer)

    def full_gradients(self) -> dict[str, Tensor]:
        """Return the averaged gradients; valid between the last backward and step."""
        from deepspeed.utils import safe_get_full_grad

        scale = 1.0 if self.loss_scale is None else self.loss_scale.scale
        gradients = {}
        for name, parameter in self.trainable():
            value = safe_get_full_grad(parameter)
            if value is not None:
                gradients[name] = value.detach().float() / scale
        return gradients

    def _create_slots(self) -> None:
        # torch's optimizers create their state at the first step; saving before it and resuming need it now.
        optimizer = self._base_optimizer
        partitions = [partition for group in optimizer.param_groups for partition in group["params"]]
        if self._stage == 3:
            # Stage 3 registers one flat partition at a time with the optimizer, so the state is keyed by those.
            partitions = list(self._engine.optimizer.fp32_partitioned_groups_flat)
        for partition in partitions:
            slots = {slot: torch.zeros_like(partition, dtype=torch.float32) for slot in self.optimizer.slots}
            optimizer.state[partition] = {**self.optimizer.counters(0, partition.device), **slots}
        if self._stage in (1, 2):
            self._engine.optimizer._hp_optimizer_states_linked = False
            self._engine.optimizer._lazy_init_hp_params_optimizer_state()

    def _own(self, parameter: nn.Parameter, slot: str) -> Tensor:
        """Return this rank's part of a parameter or of one of its slots, in one dimension, to be read or written."""
        if is_sharded(parameter):
            return part_of(parameter, slot)
        value: Tensor = self._base_optimizer.state[parameter][slot] if slot else parameter.detach()
        return value.view(-1)

    def _gathered(self, parameter: nn.Parameter) -> Tensor:
        from deepspeed.utils import safe_get_full_fp32_param

        if not is_sharded(parameter):
            return parameter.detach()
        value: Tensor | None = safe_get_full_fp32_param(parameter)
        if value is None:
            raise RuntimeError(f"DeepSpeed returned no value for a parameter of shape {shape_of(parameter)}")
        return value
