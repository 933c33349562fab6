"""The models that write variants of training texts: found, known to write, and identified, before anything starts.

Test: tests/trainer/preflight/test_rewriters.py.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from finetune.api.errors import InputError
from finetune.api.sources import ModelSource
from finetune.api.tasks import ModelFamily
from finetune.api.trainconfig import TrainConfig
from trainer.model.identity import model_digest
from trainer.model.location import LocatedModel, locate
from trainer.model.tokenizer import load_tokenizer
from trainer.model.weights import weights_digest
from trainer.preflight.architecture import configuration_of, family_of
from trainer.tasks.base import Task
from trainer.text.directions import reads_languages

ONE_WAY = "give a model of one direction, such as one of Marian's (Helsinki-NLP/opus-mt-en-de)"
TOLD_IN_WORDS = frozenset({"longt5", "mt5", "switch_transformers", "t5", "t5gemma", "t5gemma2", "umt5"})
"""Model types that read words such as `translate English to German: ` in front of a text."""


@dataclass(frozen=True)
class Rewriter:
    """A model that writes."""

    located: LocatedModel
    kind: ModelFamily
    digest: str
    """Of weights and small files; of a model on the hub, its commit."""


def rewriters_of(config: TrainConfig, task: Task[Any]) -> dict[str, Rewriter]:
    """Return the models of a job's augmentation by the fields that name them; raises InputError for one that cannot write.

    Those on the hub are checked without their weights.
    """
    found: dict[str, Rewriter] = {}
    for index, member, field, model in config.augmentation.models() if config.augmentation else ():
        if not task.rewritable:
            problem = f"task {task.facts.name} learns the texts themselves, which a model may not replace"
            raise InputError(f"augmentation.operations[{index}]", problem, "choose an operation on words")
        with named(field):
            located = located_at(field, model, weights=False)
            configuration = configuration_of(located)
            kind = family_of(configuration)
        wanted = (ModelFamily.CAUSAL, ModelFamily.SEQ2SEQ) if member == "model" else (ModelFamily.SEQ2SEQ,)
        if kind is None or kind not in wanted:
            lacking = "does not generate text" if member == "model" else "is not a translation model (encoder-decoder)"
            problem = f"{located.name} {lacking}"
            raise InputError(
                field, problem, f"give one that is {' or '.join(kind.value for kind in wanted)}" if member == "model" else ONE_WAY
            )
        if member != "model" and _must_be_told(field, located, configuration.model_type):
            problem = f"{located.name} must be told the languages with each text, and back-translation passes only the text"
            raise InputError(field, problem, ONE_WAY)
        digest = located.revision or model_digest(located, weights_digest(located))
        found[field] = Rewriter(located, kind, digest)
    return found


def _must_be_told(field: str, located: LocatedModel, model_type: str) -> bool:
    if model_type in TOLD_IN_WORDS:
        return True
    with named(field):
        return reads_languages(load_tokenizer(located))


def digests_of(rewriters: Mapping[str, Rewriter]) -> dict[str, str]:
    """Return what identifies local models, by field; those on the hub are identified by their names."""
    return {field: found.digest for field, found in rewriters.items() if found.located.revision is None}


def located_at(field: str, model: ModelSource, *, weights: bool = True) -> LocatedModel:
    """Return a model that `field` names; errors name it."""
    with named(field):
        found = locate(model, weights=weights)
    return replace(found, field=field + found.field.removeprefix("model"))


@contextmanager
def named(field: str) -> Iterator[None]:
    """Have an error about the job's model name another field instead."""
    try:
        yield
    except InputError as error:
        if error.field.split(".")[0] != "model":
            raise
        raise InputError(field + error.field.removeprefix("model"), error.problem, error.fix) from error
