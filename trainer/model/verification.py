"""Prove that an export is the model that was measured: reloaded from disk it gives the same logits, up to rounding.

Test: tests/trainer/model/test_verification.py.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from finetune.api.errors import RunError
from finetune.api.record import REASON_EXPORT
from trainer.objectives.family import Family, probe_inputs
from trainer.outputs import logits_of

PROBE_ROWS, PROBE_TOKENS = 4, 64
"""Few and short, because a large model may compute them on the CPU."""

TOLERANCES = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference that rounding explains, as a share of the logits' spread.

Some ten roundings a layer, each by at most u (2^-24, 2^-11, 2^-9), add up like a random walk to about u * sqrt(10 * layers):
1e-6, 8e-3 and 3e-2 for 30 layers. A model of 135M parameters and 30 layers was measured against its float32 self: 3e-3 in
float16 and 2e-2 in bfloat16. The tolerances leave room for 80 layers and for two kinds of device that differ from each other.
"""


class ExportMismatchError(RunError):
    """A written model does not give the logits of the model that was measured. Another attempt would write the same."""

    reason = REASON_EXPORT


@dataclass(frozen=True)
class Difference:
    """How far two models' logits are apart, less each position's mean, which softmax ignores."""

    relative: float
    """Root mean square of the differences over that of the logits."""
    largest: float
    """Largest difference of one logit."""
    tolerance: float
    """The largest `relative` that rounding explains."""


@dataclass(frozen=True)
class Probe:
    """The logits of the model under training on a few rows, with which every export is compared."""

    rows: tuple[tuple[int, ...], ...]
    """Token ids."""
    logits: tuple[Tensor, ...]
    """(positions, vocabulary) for each row, or (classes,), float32 on the CPU."""
    dtype: torch.dtype
    """Type that they were computed in."""
    family: Family

    @classmethod
    def take(cls, forward: Callable[..., Tensor], rows: Sequence[Sequence[int]], dtype: torch.dtype, family: Family) -> "Probe":
        """Return the probe of a model of `family`, whose `forward` returns logits for its arguments; one row at a time.

        Every rank of a sharded model must call it, with the same rows.
        """
        chosen = tuple(tuple(int(token) for token in row[:PROBE_TOKENS]) for row in rows[:PROBE_ROWS])
        return cls(chosen, tuple(_logits(forward, row, family) for row in chosen), dtype, family)

    def of(self, model: nn.Module, dtype: torch.dtype) -> "Probe":
        """Return the probe of another model, in `dtype`, on the same rows."""
        model.eval()
        return Probe.take(lambda **inputs: logits_of(model(**inputs)), self.rows, dtype, self.family)

    def compare(self, model: nn.Module, what: str, dtype: torch.dtype) -> Difference:
        """Return how far a model that was read back, in `dtype`, is from the one measured.

        Raises ExportMismatchError when that is more than rounding explains; `what` names the export for its message.
        """
        model.eval()
        found = [_logits(lambda **inputs: logits_of(model(**inputs)), row, self.family) for row in self.rows]
        if any(one.shape != expected.shape for one, expected in zip(found, self.logits, strict=True)):
            problem = f"it gives logits of shape {tuple(found[0].shape)} where {tuple(self.logits[0].shape)} were measured"
            raise ExportMismatchError(f"the {what} is not the model that was measured: {problem}")
        if dtype == torch.float16 and not all(bool(torch.isfinite(one).all()) for one in found):
            raise ExportMismatchError(f"the {what} gives numbers that float16 cannot hold; use bfloat16; it was not published")
        difference = difference_of(found, self.logits, max(TOLERANCES[self.dtype], TOLERANCES[dtype]))
        if not difference.relative <= difference.tolerance:  # also where it is no number
            name = str(dtype).removeprefix("torch.")
            problem = (
                f"read back from disk its logits differ by {difference.relative:.2g} of their spread (one of them by "
                f"{difference.largest:.3g}), where rounding in {name} explains {difference.tolerance:g}"
            )
            raise ExportMismatchError(f"the {what} is not the model that was measured: {problem}; it was not published")
        return difference


def difference_of(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> Difference:
    """Return the difference of logits, row by row of the same shapes."""
    squares = spread = largest = 0.0
    for one, other in zip(found, expected, strict=True):
        one, other = (logits.double() - logits.double().mean(dim=-1, keepdim=True) for logits in (one, other))
        apart = one - other
        squares += float(apart.square().sum())
        spread += float(other.square().sum())
        largest = max(largest, float(apart.abs().max()))
    relative = (squares / spread) ** 0.5 if spread > 0 else float(squares > 0)
    return Difference(relative, largest, tolerance)


def fingerprints(model: nn.Module) -> dict[str, int]:
    """Return a checksum of every parameter's values by name, so that the written model need not stay in memory while it is read back.

    As float32, because transformers reads some parameters in a wider type than the one they were stored in.
    """
    return {name: zlib.crc32(parameter.detach().float().contiguous().numpy().data) for name, parameter in model.named_parameters()}


def _logits(forward: Callable[..., Tensor], row: Sequence[int], family: Family) -> Tensor:
    with torch.no_grad():
        found = forward(**probe_inputs(family, torch.tensor([row]))).detach()
    return found[0].to("cpu", torch.float32)
