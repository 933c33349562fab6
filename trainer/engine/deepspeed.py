"""DeepSpeed ZeRO stages 0 to 3 behind the Engine interface. With fragments.py the only module that names DeepSpeed's internals.

deepspeed is imported inside functions: importing it picks an accelerator, which must happen in the worker. The optimizer
is PyTorch's own, so DeepSpeed compiles nothing and no compiler is needed.
Test: tests/trainer/engine/test_invariance.py.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from trainer.engine.base import Engine, EngineSettings
from trainer.engine.fragments import is_sharded, part_of, range_of, refresh_weights, shape_of
from trainer.engine.state import PARAMETERS, EngineState, StatePart, StateSource, check_names, check_state

# A collective that takes longer means a lost rank; DeepSpeed's default changed between versions, so it is set here.
GROUP_TIMEOUT = timedelta(minutes=30)
REDUCE_BUCKET = 10**8
"""Elements that are reduced at once: 400 MB in float32, twice that with overlap. Interconnects reach their full rate far below it."""


def deepspeed_config(zero_stage: int, settings: EngineSettings, device: torch.device, *, bfloat16: bool, world_size: int) -> dict[str, Any]:
    """Return DeepSpeed's configuration with every value that its releases have changed set explicitly."""
    # Stages 2 and 3 reduce in every micro-batch, on a stream of their own: stage 2 fills one bucket while it reduces another, stage 3
    # fills its bucket on that stream. Stage 1 reduces once a step, and would reduce in every micro-batch with overlap.
    overlap = device.type == "cuda" and zero_stage >= 2
    return {
        "train_batch_size": settings.micro_batch_size * settings.micro_batches_per_step * world_size,
        "train_micro_batch_size_per_gpu": settings.micro_batch_size,
        "gradient_accumulation_steps": settings.micro_batches_per_step,
        "gradient_clipping": settings.gradient_clipping,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": zero_stage,
            "contiguous_gradients": True,
            "overlap_comm": overlap,
            "reduce_scatter": True,
            "reduce_bucket_size": REDUCE_BUCKET,
        },
        "bf16": {"enabled": bfloat16, "check_grad_overflow": False},
        # Left to itself it is the model's type, and in bfloat16 the sum over many micro-batches loses what the small ones add.
        # In bfloat16 this also has DeepSpeed run its BF16_Optimizer in place of the one of stage 1.
        "data_types": {"grad_accum_dtype": "fp32"},
        # Likewise the sum over ranks.
        "communication_data_type": "fp32",
        "fp16": {"enabled": False},
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }


def start_deepspeed(device: torch.device) -> None:
    """Have DeepSpeed take over the process group; must happen before a model is loaded sharded. Safe to repeat."""
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    # Its shared-memory collective for inference would be compiled here; training does not call it.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=torch.distributed.get_backend(), timeout=GROUP_TIMEOUT, verbose=False)


class DeepspeedEngine(Engine):
    """A DeepSpeed engine; neither form of its training state, whole or in parts, depends on stage or world size."""

    def __init__(self, model: nn.Module, zero_stage: int, settings: EngineSettings, device: torch.device, *, bfloat16: bool) -> None:
        start_deepspeed(device)
        import deepspeed

        self.rank, self.world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.device, self.optimizer, self._stage = device, settings.optimizer, zero_stage
        self.shards_parameters, self.shards_state = zero_stage == 3, zero_stage > 0
        # Stage 0 shards no masters, and DeepSpeed's own bfloat16 wrapper hides the optimizer's state: there it is autocast, as under DDP.
        self.autocast = bfloat16 and zero_stage == 0
        config = deepspeed_config(zero_stage, settings, device, bfloat16=bfloat16 and zero_stage > 0, world_size=self.world_size)
        model = model.to(device) if zero_stage < 3 else model
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

    def forward(self, **inputs: Any) -> Tensor:
        """Return the logits."""
        with self.arithmetic():
            logits: Tensor = self._engine(**inputs).logits
            return logits

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradient. DeepSpeed counts micro-batches itself; `step` on all but the last only advances its count."""
        self._engine.backward(loss, scale_wrt_gas=False)
        if not last:
            self._engine.step()

    def step(self, learning_rate: float) -> Tensor:
        """Update the weights at the boundary that DeepSpeed has counted to."""
        for group in {id(o): o for o in (self._engine.optimizer, self._base_optimizer)}.values():
            for parameters in group.param_groups:
                parameters["lr"] = learning_rate
        # Stage 0 in float32 does not report a norm; its gradients are whole and averaged, so it is taken here.
        norm = None if self.shards_state else torch.nn.utils.get_total_norm([p.grad for _, p in self.trainable() if p.grad is not None])
        self._engine.step()
        return torch.as_tensor(self._engine.get_global_grad_norm() if norm is None else norm)

    def state(self) -> EngineState:
        """Gather parameters and slots parameter by parameter; every rank takes part, rank 0 keeps the result."""
        state = EngineState(slots={slot: {} for slot in self.optimizer.slots})
        for name, parameter in self.trainable():
            for slot, values in [("", state.parameters), *state.slots.items()]:
                value = self._gather(parameter, slot)
                if self.rank == 0:
                    values[name] = value.detach().float().cpu().reshape(tuple(value.shape)).clone()
        return state

    def parameters(self) -> dict[str, Tensor]:
        """Gather the parameters one by one; every rank takes part, rank 0 keeps the result."""
        found: dict[str, Tensor] = {}
        for name, parameter in self.trainable():
            value = self._gather(parameter, "")
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
            groups={
                group: {name: part_of(parameters[name], slot) for name in ranges}
                for group, slot in [(PARAMETERS, ""), *((slot, slot) for slot in self.optimizer.slots)]
            },
        )

    def load_state(self, state: StateSource, steps_done: int) -> None:
        """Read this rank's parts of parameters and slots."""
        check_state(state, [name for name, _ in self.trainable()], self.optimizer)
        for partition, kept in self._base_optimizer.state.items():
            kept.update(self.optimizer.counters(steps_done, partition.device))
        self._read(state, {PARAMETERS: "", **{slot: slot for slot in self.optimizer.slots}})

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

        gradients = {}
        for name, parameter in self.trainable():
            value = safe_get_full_grad(parameter)
            if value is not None:
                gradients[name] = value.detach().float().clone()
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

    def _gather(self, parameter: nn.Parameter, slot: str) -> Tensor:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if not is_sharded(parameter):
            return parameter.detach() if not slot else self._base_optimizer.state[parameter][slot]
        value: Tensor | None = safe_get_full_optimizer_state(parameter, slot) if slot else safe_get_full_fp32_param(parameter)
        if value is None:
            raise RuntimeError(f"DeepSpeed returned no value for {slot or 'a parameter'} of shape {shape_of(parameter)}")
        return value
