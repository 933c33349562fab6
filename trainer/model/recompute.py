"""Gradient checkpointing: activations are computed again in backward instead of being kept.

Test: tests/trainer/model/test_recompute.py.
"""

from transformers import PreTrainedModel


def recompute_activations(model: PreTrainedModel) -> PreTrainedModel:
    """Have each layer's activations computed again in backward (Chen et al. 2016, arXiv:1604.06174); returns the same model."""
    # The re-entrant form loses gradients where only some of a layer's weights are trained, as with LoRA.
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    return model
