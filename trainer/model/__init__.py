"""The model of a run: found, checked, loaded, given its adapters, and written out again.

`locate` and everything it needs import neither torch nor transformers, so that a wrong model is told within seconds; the
rest is imported when it is first asked for. Tests: tests/trainer/model/.
"""

import importlib
from typing import TYPE_CHECKING, Any

from trainer.hub import HubUnavailable
from trainer.model.location import LocatedModel, ModelKind, locate

if TYPE_CHECKING:
    from trainer.model.beside import Origin
    from trainer.model.exporter import Exported, Trained, base_dtype, export
    from trainer.model.load import load_model, load_tokenizer, provenance_of, weights_digest
    from trainer.model.lora import apply_method
    from trainer.model.rehearsal import rehearse
    from trainer.model.verification import Probe

_HEAVY = {
    "Exported": "trainer.model.exporter",
    "Origin": "trainer.model.beside",
    "Probe": "trainer.model.verification",
    "Trained": "trainer.model.exporter",
    "base_dtype": "trainer.model.exporter",
    "export": "trainer.model.exporter",
    "load_model": "trainer.model.load",
    "load_tokenizer": "trainer.model.load",
    "provenance_of": "trainer.model.load",
    "weights_digest": "trainer.model.load",
    "apply_method": "trainer.model.lora",
    "rehearse": "trainer.model.rehearsal",
}

__all__ = [
    "Exported",
    "HubUnavailable",
    "LocatedModel",
    "ModelKind",
    "Origin",
    "Probe",
    "Trained",
    "apply_method",
    "base_dtype",
    "export",
    "load_model",
    "load_tokenizer",
    "locate",
    "provenance_of",
    "rehearse",
    "weights_digest",
]


def __getattr__(name: str) -> Any:
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HEAVY[name]), name)
