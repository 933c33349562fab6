"""Gradient checkpointing: activations are recomputed in the backward pass instead of being kept.

Test: tests/trainer/model/test_recompute.py.
"""

from typing import Any


def recompute_activations(model: Any) -> Any:
    """Make each layer recompute its activations in the backward pass (Chen et al. 2016, arXiv:1604.06174); return the same model.

    The job's method is applied already: PEFT too would change the embeddings of a model that recomputes, for good.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    # The re-entrant form loses gradients where only some of a layer's weights are trained, as with LoRA.
    how = {"use_reentrant": False}
    if hasattr(base, "activation_checkpointing_enable"):
        base.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
    else:  # the name that transformers had before 5.20; both do the same
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
    # Both have the embeddings' output need a gradient, for the re-entrant form; backward would run through every frozen layer.
    if hasattr(base, "_require_grads_hook"):
        base.disable_input_require_grads()
    return model
