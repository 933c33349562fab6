"""Parts of a model that its job never computes with: their weights get no gradient, which DistributedDataParallel takes for a fault.

transformers loads them because another job uses them: the pooler of an encoder that only its tokens are read of, the layers for
global attention where no token is global, the layers for images where all rows are texts. Test: tests/trainer/model/test_unused.py.
"""

import re
from typing import Any

from finetune.api.tasks import ModelFamily
from trainer.model.head import CLASSES, MASKED, POOLER
from trainer.objectives.family import Family

CONTACTS = "contact_head"
"""ESM's layer that predicts which parts of a protein touch."""
GLOBAL = r"(?:query|key|value)_global"
"""Layers of Longformer and LED for tokens that attend to all others; only a head of classes or of spans makes some of them global."""

IMAGES = "patch_embeddings"
"""NeoMME's layers that read an image; no row has one."""


def unused_modules(model: Any, family: Family) -> list[str]:
    """Return the names of the modules with parameters that a model of this family never computes with."""
    if family.kind is ModelFamily.CAUSAL:
        return []
    parts = [CONTACTS, IMAGES]
    if family.auto_class != CLASSES:
        parts.append(POOLER)
    if family.kind is ModelFamily.SEQ2SEQ or family.auto_class == MASKED:
        parts.append(GLOBAL)
    pattern = re.compile(rf"(?:.*\.)?(?:{'|'.join(parts)})")
    return [name for name, module in model.named_modules() if pattern.fullmatch(name) and any(True for _ in module.parameters())]


def never_trained(model: Any, family: Family) -> set[str]:
    """Return the names of the parameters that no method trains: those that nothing is computed with, and computed ones.

    transformers computes some instead of reading and writing them, such as Marian's table of positions. It freezes them when it builds a
    model, and no longer when it loads one; an export would have the computed values again.
    """
    unused = tuple(f"{name}." for name in unused_modules(model, family))
    computed = set(model._keys_to_ignore_on_save or ())
    return {name for name, _ in model.named_parameters() if name in computed or (unused and name.startswith(unused))}
