"""Gradient checkpointing: activations are recomputed in the backward pass instead of being kept.

Test: tests/trainer/model/test_recompute.py.
"""

from transformers import PreTrainedModel


def recompute_activations(model: PreTrainedModel) -> PreTrainedModel:
    """Make each layer recompute its activations in the backward pass (Chen et al. 2016, arXiv:1604.06174); return the same model."""
    # The re-entrant form loses gradients where only some of a layer's weights are trained, as with LoRA.
    how = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
    else:  # the name that transformers had before 5.20; both do the same
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
    model.enable_input_require_grads()
    return model
