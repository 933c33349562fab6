"""Decide whether a model can read packed rows, from the model itself, and make it do so.

Most architectures can: every token of a document is computed from that document alone once positions restart and attention is per
document. Some cannot (state that runs through the row, attention of their own), and a list of them would never be complete. So a
model is tried: a short pass over two packed documents shows what it asks of its attention, and that it gives the logits of the same
documents in a padded batch. Test: tests/trainer/model/test_packing.py.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from finetune.api.errors import InputError
from finetune.api.sections import Packing, Training
from trainer.model.attention import PER_DOCUMENT, AttentionCalls, register
from trainer.model.faults import first_line
from trainer.objectives.documents import Documents

FULL, SLIDING = "full_attention", "sliding_attention"
"""transformers' names of the kinds of layer whose attention can be computed per document."""
TRIED = (5, 3, 6)
"""Tokens of the documents of the trial."""
TOLERANCES = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference of a token's logits that rounding explains, as a share of their spread (see trainer.model.verification)."""


NOT_WANTED = "training.packing is never"
GROUPED_IN_VAIN = "training.groupByLength: it saves nothing, because this model's rows are packed and have no padding; leave it out"


class UnpackableError(Exception):
    """A model cannot read packed rows; the message says why."""


def padded_because(model: Any, forward: Callable[..., Tensor], arguments: frozenset[str], wanted: Packing,
                   gather: Callable[[str | None], list[str | None]]) -> str | None:  # fmt: skip
    """Return why rows of `model` are padded; None if they are packed, which it can read from then on. The same on every rank.

    `forward` returns logits for keyword arguments of the model, of which `arguments` are named. `gather` returns what all ranks found,
    in the same order on each: the trial compares rounded numbers, and ranks that deal the rows of a step differently would train
    some twice and others never. So every rank must call it. On the meta device only what the model asks of its attention is
    compared, not logits. Raises InputError, on all ranks, if the job wants packed rows and the model of one cannot read them.
    """
    if wanted is Packing.NEVER:
        return NOT_WANTED
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    if base.config.is_encoder_decoder:
        return _refused(f"{type(base).__name__} reads two rows for each sample, one in its encoder and one in its decoder", wanted)
    before = base.config._attn_implementation
    reason = next((found for found in gather(_fault(model, base, forward, arguments)) if found is not None), None)
    if reason is None:
        return None
    base.set_attn_implementation(before)
    return _refused(reason, wanted)


def _refused(reason: str, wanted: Packing) -> str:
    """Return why rows are padded; raises InputError if the job wants them packed."""
    if wanted is Packing.ALWAYS:
        raise InputError("training.packing", reason, "set it to auto, which pads the rows of such a model")
    return reason


def _fault(model: Any, base: PreTrainedModel, forward: Callable[..., Tensor], arguments: frozenset[str]) -> str | None:
    """Return why this rank's model cannot read packed rows, if so; its attention may be per document from then on."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            _check_architecture(base, arguments)
            _try(base, forward, next(model.parameters()).device)
    except UnpackableError as error:
        return f"{type(base).__name__} cannot read packed rows: {error}"
    finally:
        model.train(was_training)
    return None


def layout_finding(training: Training, padded: str | None, *, may_pack: bool) -> str | None:
    """Return what is said of rows that are laid out otherwise than the job's reader may expect, if they are.

    `padded` is what `padded_because` returned; `may_pack` is False for kinds of models whose rows are always padded.
    """
    if padded is None:
        return GROUPED_IN_VAIN if training.group_by_length else None
    if training.packing is Packing.AUTO and may_pack:
        return f"training.packing: rows are padded, because {padded}"
    return None


def _check_architecture(model: PreTrainedModel, arguments: frozenset[str]) -> None:
    """Raise UnpackableError for what can be told without a forward pass."""
    if not model.can_generate():
        raise UnpackableError("its tokens attend to later ones")
    if "position_ids" not in arguments:
        raise UnpackableError("its positions cannot begin again at each document")
    if not model._can_set_attn_implementation():
        raise UnpackableError("its attention cannot be replaced")
    others = sorted({kind for kind in _layer_types(model) if kind not in (FULL, SLIDING)})
    if others:
        raise UnpackableError(f"it has layers of type {', '.join(others)}; only {FULL} and {SLIDING} can be computed per document")
    along = next((name for name, module in model.named_modules() if isinstance(module, nn.Conv1d)), None)
    if along is not None:
        raise UnpackableError(f"{along} is a convolution along the row, which would mix documents")


def _try(model: PreTrainedModel, forward: Callable[..., Tensor], device: torch.device) -> None:
    """Compute the same documents padded and packed, and raise UnpackableError where the results or the calls of attention differ."""
    documents, ids, calls = Documents.of(TRIED), _some_ids(model, sum(TRIED)), AttentionCalls()
    real = torch.arange(max(TRIED)) < torch.tensor(TRIED).unsqueeze(1)
    padded = torch.zeros(real.shape, dtype=torch.long)
    padded[real] = ids
    try:
        apart = forward(input_ids=padded.to(device), attention_mask=real.long().to(device), use_cache=False)
    except Exception:
        if device.type == "meta":  # such as where it reads numbers, which are not there: the worker that loads them will know
            return
        raise
    register()
    model.set_attn_implementation(PER_DOCUMENT)
    inputs = {name: value.to(device) for name, value in documents.inputs(ids.unsqueeze(0)).items()}
    try:
        together = forward(**inputs, use_cache=False, attention_calls=calls)[0]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a model's own code may raise anything for arguments that it does not expect
        raise UnpackableError(first_line(error)) from error
    _check_calls(model, calls)
    if device.type != "meta":
        held = next(model.parameters()).dtype
        _check_logits(together.cpu().float(), apart.cpu()[real].float(), max(TOLERANCES[held], TOLERANCES[together.dtype]))


def _check_calls(model: PreTrainedModel, calls: AttentionCalls) -> None:
    config = model.config.get_text_config()
    layers, window = config.num_hidden_layers, getattr(config, "sliding_window", None)
    if len(calls.windows) != layers:
        raise UnpackableError(f"{len(calls.windows)} of its {layers} layers compute attention that can be given documents")
    kinds = _layer_types(model) or ([SLIDING] * layers if window is not None else [FULL] * layers)
    if calls.windows != [window if kind == SLIDING else None for kind in kinds]:
        raise UnpackableError("its attention is not told the sliding window")


def _check_logits(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Compare logits of shape (tokens, vocabulary), less each token's mean, which softmax ignores."""
    found, expected = (logits - logits.mean(dim=-1, keepdim=True) for logits in (found, expected))
    apart, spread = (found - expected).norm(dim=-1), expected.norm(dim=-1)
    if not bool((apart <= tolerance * spread.clamp_min(torch.finfo(torch.float32).tiny)).all()):  # also where one is no number
        raise UnpackableError("a document's logits are others beside other documents than alone")


def _layer_types(model: PreTrainedModel) -> list[str]:
    """Return the kind of each layer; empty if the configuration names none, as where all are alike."""
    config = model.config.get_text_config()
    return list(getattr(config, "layer_types", None) or [])[: config.num_hidden_layers]


def _some_ids(model: PreTrainedModel, tokens: int) -> Tensor:
    """Return (tokens,): ids spread over the vocabulary."""
    return (torch.arange(1, tokens + 1) * 7919) % int(model.config.get_text_config().vocab_size)
