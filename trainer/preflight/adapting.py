"""What a check says of domain adaptation: what cannot be measured is refused, how far general and domain texts are apart is told.

The distance needs no model: how many tokens the tokenizer makes of a word, and the Jensen-Shannon divergence of the tokens of both
sides (Lin 1991), in bits: 0 for equal distributions, 1 for texts without a common token. Texts are finite, so two samples of the same
texts have some too: `chance` is that of two halves of the general texts. All samples have as many tokens, because fewer tokens are
further apart. Test: tests/trainer/preflight/test_adapting.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.api.adaptation import DOMAIN, GENERAL, REPLAY
from finetune.api.errors import InputError
from finetune.api.tasks import ModelFamily, TaskName
from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Dataset
from trainer.data.sampled import count_of
from trainer.data.sampler import random_for, replayed_in_epoch
from trainer.tasks.base import Task
from trainer.text.encoding import encode_texts

LOOKED_AT = 2000
"""Texts of a side that are tokenized, spread evenly over it."""
CHARACTERS = 4_000_000
"""Characters of them, which are tokenized in a second or two; the last text may exceed it."""
REASONS = {
    ModelFamily.ENCODER: "an encoder whose head was made for the task does not say how likely a text is",
    ModelFamily.SEQ2SEQ: "an encoder-decoder says how likely an answer to a source is, not a text alone",
}


def refuse_unlikely(config: TrainConfig, task: Task[Any]) -> None:
    """Raise InputError for plain texts that this kind of model gives no likelihood to."""
    adaptation = config.adaptation
    if adaptation is None or task.family is ModelFamily.CAUSAL or task.facts.name is TaskName.LANGUAGE_MODELING:
        return
    for field, given in ((GENERAL, adaptation.general_evaluation), (DOMAIN, adaptation.domain_evaluation)):
        if given is not None:
            fix = "remove it; rows of another domain that are to be measured go into data.test, whose sources have figures of their own"
            raise InputError(field, f"cannot be measured for task {task.facts.name}: {REASONS[task.family]}", fix)


@dataclass(frozen=True)
class Shift:
    """How far domain and general texts are apart for a tokenizer."""

    domain: str
    """The field of the domain texts."""
    tokens_per_word: tuple[float, float]
    """Of domain and general texts."""
    divergence: float
    chance: float | None
    """The divergence of two halves of the general texts; None of one text."""

    def to_wire(self) -> dict[str, Any]:
        """Return it as in report.json."""
        domain, general = self.tokens_per_word
        return {
            "domainTexts": self.domain,
            "tokensPerWord": {"domain": domain, "general": general},
            "tokenDivergence": self.divergence,
            "tokenDivergenceByChance": self.chance,
        }

    def line(self) -> str:
        """Return it as `finetune check` shows it."""
        domain, general = self.tokens_per_word
        chance = f" (two halves of the general texts: {self.chance:.3f})" if self.chance is not None else ""
        return f"shift       {domain:.2f} tokens per word in the domain, {general:.2f} in general; divergence {self.divergence:.3f}{chance}"


def shift_of(dataset: Dataset, task: Task[Any], tokenizer: Any) -> Shift | None:
    """Return how far the domain's texts are from the general ones; None without plain texts of both."""
    learned = {"data.train": dataset.train} if task.facts.name is TaskName.LANGUAGE_MODELING else {}
    sides = {DOMAIN: dataset.domain} if dataset.domain else learned
    if not dataset.general or not sides:
        return None
    [(field, rows)] = sides.items()
    domain, general = _some(rows), _some(dataset.general)
    specific, half, other = (tokens_of(texts, tokenizer) for texts in (domain, general[::2], general[1::2]))
    per_word = len(specific) / _words(domain), (len(half) + len(other)) / _words(general)
    if not len(other):
        return Shift(field, per_word, divergence(specific, half), None)
    size = min(map(len, (specific, half, other)))
    return Shift(field, per_word, divergence(specific[:size], half[:size]), divergence(half[:size], other[:size]))


def tokens_of(texts: Sequence[str], tokenizer: Any) -> NDArray[np.int64]:
    """Return the tokens of texts, one text after the other, without those that a tokenizer adds around a text."""
    return np.array([token for encoded in encode_texts(texts, tokenizer, special=False) for token in encoded.input_ids], np.int64)


def divergence(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Return the Jensen-Shannon divergence of the distributions of two samples of tokens, in bits."""
    one, other = np.bincount(one), np.bincount(other)
    shares = np.zeros((2, max(len(one), len(other), 1)))
    for share, counts in zip(shares, (one, other), strict=True):
        share[: len(counts)] = counts / max(1, counts.sum())
    middle = shares.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, shares * np.log2(shares / middle), 0.0)
    return float(min(1.0, max(0.0, terms.sum() / 2)))


def epoch_rows(rows: int, config: TrainConfig, *, replays: bool = True) -> int:
    """Return how many rows an epoch of `rows` training rows draws, with their copies; `replays`: whether there are rows to replay."""
    adaptation, own = config.adaptation, config.own_rows(rows)
    if adaptation is None or adaptation.replay is None or not replays:
        return own
    return own + replayed_in_epoch(own, adaptation.replay.share)


def adaptation_lines(config: TrainConfig, dataset: Dataset, shift: Shift | None, replayed: int) -> list[str]:
    """Return what `finetune check` says of the section; `replayed` are the replay rows that an epoch draws."""
    adaptation = config.adaptation
    if adaptation is None:
        return []
    counts = [f"{len(rows)} {what}" for rows, what in ((dataset.general, "general"), (dataset.domain, "domain")) if rows]
    lines = [f"texts       {' and '.join(counts)} texts to measure likelihood on"] if counts else []
    if adaptation.replay is not None:
        lines.append(f"replay      {count_of(len(dataset.replay))}; an epoch draws {replayed}, {adaptation.replay.share:.3g} of its rows")
    return [*lines, *([shift.line()] if shift is not None else [])]


def replay_findings(config: TrainConfig, task: Task[Any], dataset: Dataset, tokenizer: Any) -> list[str]:
    """Report replay rows that an epoch repeats."""
    if not dataset.replay:
        return []
    length = config.training.max_sequence_length
    own, rows = (task.count(side, tokenizer, length).pieces for side in (dataset.train, dataset.replay))
    replayed = epoch_rows(own, config) - config.own_rows(own)
    if replayed <= rows:
        return []
    return [f"{REPLAY}: an epoch draws {replayed} rows of {rows}, so each comes {replayed / rows:.3g} times; give more, or lower share"]


def _some(examples: Sequence[Any]) -> list[str]:
    """Return some of the texts, in random order: always the same ones."""
    count = min(len(examples), LOOKED_AT)
    places = [number * len(examples) // count for number in range(count)]
    random_for("texts of a shift", count).shuffle(places)
    texts, characters = list[str](), 0
    for place in places:
        if characters >= CHARACTERS:
            break
        texts.append(examples[place].text)
        characters += len(texts[-1])
    return texts


def _words(texts: Sequence[str]) -> int:
    return max(1, sum(len(text.split()) for text in texts))
