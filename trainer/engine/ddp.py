"""PyTorch DistributedDataParallel: the engine for one process, and the reference that DeepSpeed is tested against.

Tests: tests/trainer/engine/test_invariance.py, tests/trainer/engine/test_ddp.py.
"""

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainer.engine.base import Engine, EngineSettings
from trainer.engine.lossscale import LossScale
from trainer.engine.optimizer import set_learning_rate
from trainer.engine.precision import check_masters
from trainer.engine.state import PARAMETERS, EngineState, Keep, StateSource, check_names, check_state, cloned
from trainer.outputs import logits_of


class DdpEngine(Engine):
    """The whole model on every rank; gradients averaged at the last micro-batch of a step."""

    def __init__(self, model: nn.Module, settings: EngineSettings, device: torch.device, *, dtype: torch.dtype = torch.float32) -> None:
        check_masters(model)
        self.model = model.to(device)
        self.device = device
        distributed = torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if distributed else 0
        self.world_size = torch.distributed.get_world_size() if distributed else 1
        self.autocast = dtype if dtype is not torch.float32 else None
        self.loss_scale = LossScale() if dtype is torch.float16 else None
        self.clipping = settings.gradient_clipping
        self.optimizer = settings.optimizer
        self._optimizer = self.optimizer.build(self.model)
        self._wrapped = self.model
        if self.world_size > 1:
            # It costs a walk over the graph in each step, so only where it is needed.
            unused = routes_to_experts(name for name, _ in self.trainable())
            # Buffers are made equal once, here: none changes in training, and those of weak directions are as large as the model.
            self._wrapped = DistributedDataParallel(self.model, find_unused_parameters=unused, forward_sync_buffers=False)

    def forward(self, **inputs: Any) -> Tensor:
        """Return the logits; in 16 bits the arithmetic is autocast and weights stay as they are held."""
        with self.arithmetic():
            # Evaluation goes past DDP, which would need all ranks in step.
            module = self._wrapped if torch.is_grad_enabled() else self.model
            return logits_of(module(**inputs))

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradient; whether ranks are averaged was decided by `accumulating`, around the forward too."""
        scaled = loss if self.loss_scale is None else loss * self.loss_scale.scale
        scaled.backward()  # type: ignore[no-untyped-call]

    def accumulating(self, last: bool) -> AbstractContextManager[None]:
        """Return DDP's context without communication for all micro-batches but the last."""
        if isinstance(self._wrapped, DistributedDataParallel) and not last:
            context: AbstractContextManager[None] = self._wrapped.no_sync()
            return context
        return nullcontext()

    def step(self, learning_rate: float) -> Tensor | None:
        """Clip, update, clear."""
        for _, parameter in self.trainable():
            if parameter.grad is None:  # no rank used it; under ZeRO it would have zeros, and a resume counts its step
                parameter.grad = torch.zeros_like(parameter)
        norm = self._clipped_norm()
        if norm is not None:
            set_learning_rate(self._optimizer.param_groups, learning_rate)
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm

    def state(self, keep: Keep = cloned) -> EngineState:
        """Return parameters and slots; only rank 0 keeps them. Before the first step the slots are zeros."""
        if self.rank != 0:
            return EngineState()
        state = EngineState(slots={slot: {} for slot in self.optimizer.slots})
        for name, parameter in self.trainable():
            kept = self._optimizer.state.get(parameter, {})
            state.parameters[name] = keep(parameter)
            for slot, values in state.slots.items():
                values[name] = keep(kept[slot] if kept else torch.zeros_like(state.parameters[name]))
        return state

    def parameters(self) -> dict[str, Tensor]:
        """Return the parameters, on rank 0."""
        return {name: parameter.detach().cpu() for name, parameter in self.trainable()} if self.rank == 0 else {}

    def load_state(self, state: StateSource, steps_done: int) -> None:
        """Take over parameters and slots, each tensor by itself."""
        check_state(state, [name for name, _ in self.trainable()], self.optimizer)
        for name, parameter in self.trainable():
            self._optimizer.state[parameter] = self.optimizer.counters(steps_done, self.device) | {
                slot: _whole(state, slot, name, parameter).to(self.device, parameter.dtype, copy=True) for slot in self.optimizer.slots
            }
        self.load_parameters(state)

    def load_parameters(self, state: StateSource) -> None:
        """Take over each parameter by itself."""
        check_names(state.names()[PARAMETERS], [name for name, _ in self.trainable()])
        for name, parameter in self.trainable():
            parameter.detach().copy_(_whole(state, PARAMETERS, name, parameter))

    def full_gradients(self) -> dict[str, Tensor]:
        """Return the averaged gradients."""
        scale = 1.0 if self.loss_scale is None else self.loss_scale.scale
        return {name: parameter.grad.detach() / scale for name, parameter in self.trainable() if parameter.grad is not None}


def _whole(state: StateSource, group: str, name: str, parameter: nn.Parameter) -> Tensor:
    return state.read(group, name, 0, parameter.numel()).view(parameter.shape)


def routes_to_experts(names: Iterable[str]) -> bool:
    """Return whether a micro-batch may leave trained parameters without a gradient: those of an expert that no token chose.

    Only where each expert is a module with parameters of its own; most models keep those of all experts in one tensor.
    """
    return any(re.search(r"\bexperts\.\d+\.", name) for name in names)
