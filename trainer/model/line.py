"""Whether there are weights on a straight line between the base model and the tuned one, which a sweep measures.

Test: tests/trainer/rank/test_sweep_methods.py.
"""

from torch import nn

from finetune.api.sections import Method

SWEEP = "domainAdaptation.sweep"


def left_out(method: Method, model: nn.Module, *, sharded: bool) -> str | None:
    """Return what to say where a model has none; None where it has them. `sharded`: no rank holds whole weights."""
    reason = _why_not(method, model, sharded=sharded)
    return None if reason is None else f"{SWEEP}: left out: {reason}"


def _why_not(method: Method, model: nn.Module, *, sharded: bool) -> str | None:
    if method.osf is not None:
        return "OSF weights cannot be interpolated"
    if method.lora is not None:
        return _not_scaled(model)
    return "no rank holds whole weights under ZeRO stage 3" if sharded else None


def _not_scaled(model: nn.Module) -> str | None:
    """Return why an adapted model is not on the line when its adapters are scaled; None if it is."""
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if any("magnitude" in name for name in trained):
        return "DoRA weights cannot be interpolated"
    if any(".lora_" not in name for name in trained):
        return "the layers on top of the model are trained beside the adapters"
    return None
