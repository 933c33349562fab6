"""Varies training texts in every epoch; the task decides which parts of an example may change.

Every choice is a function of (seed, epoch, example id, number of the copy), so a resumed run sees the same words. Tests:
tests/trainer/augmentation/test_augmenter.py.
"""

import random
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from finetune.api.augmentation import Augmentation, AugmentationOperation
from finetune.api.augmentation import Synonyms as SynonymSource
from finetune.api.errors import InputError
from trainer.augmentation.counts import NAMES, AugmentedRows
from trainer.augmentation.noise import make_errors
from trainer.augmentation.operations import drop_words, insert_marks, insert_synonyms, replace_by_synonyms, swap_words
from trainer.augmentation.protection import Protection
from trainer.augmentation.rewritten import NONE, Rewritten, Variants
from trainer.augmentation.synonyms import Synonyms, read_dictionary, wordnet
from trainer.augmentation.words import Operation, cut, join
from trainer.data.files import path_of
from trainer.data.rows import E, Example, Piece, Sample
from trainer.data.sampler import random_for
from trainer.tasks.base import Task
from trainer.text.words import WORD

Vary = Callable[[E, Callable[[str], str]], E]
"""Applies a change to the texts of an example that may be varied: see `Task.vary`."""
LOOKED_AT = 100
"""Rows among which examples of what augmentation does are looked for."""


class Augmenter:
    """Applies the operations of a job; raises InputError if the user's dictionary is invalid.

    `rewritten` is what models wrote for the operations that replace whole texts, which come first.
    """

    def __init__(self, augmentation: Augmentation, seed: int, rewritten: Rewritten = NONE) -> None:
        self._share, self._seed, self._rewritten = augmentation.share, seed, rewritten
        self._rewriting = [
            (index, NAMES.index(operation.name), operation.rewriting.probability)
            for index, operation in enumerate(augmentation.operations)
            if operation.rewriting is not None
        ]
        self._protection = Protection(augmentation.protected or ())
        self._operations = [
            (NAMES.index(operation.name), _operation(f"augmentation.operations[{index}]", operation))
            for index, operation in enumerate(augmentation.operations)
            if operation.rewriting is None
        ]

    def sample(
        self, task: Task[E], piece: Piece[E], epoch: int, copy: int, tokenizer: Any, max_length: int
    ) -> tuple[Sample, AugmentedRows]:
        """Return the sample of a piece in an epoch, and what was done to it; `copy` 0 is the row itself.

        The changes are a function of (seed, epoch, id of the piece, copy). A piece without changes keeps its tokens; one that becomes
        longer than `max_length` is truncated.
        """
        varied, counts = self.augment(task.part(piece, tokenizer), epoch, task.vary, copy)
        if counts.generated == counts.unchanged:
            return piece.tokens, counts
        return task.encode_part(piece, varied, tokenizer, max_length), counts

    def augment(self, example: E, epoch: int, vary: Vary[E], copy: int = 0) -> tuple[E, AugmentedRows]:
        """Return the example as varied in an epoch, and what was done to it. The id stays the same.

        A copy is always varied, the row itself never where the job has copies; where it has none, each epoch makes a new choice of
        `augmentedShare` of all examples, and the others are returned unchanged.
        """
        rng = self._draws(epoch, example, copy)
        chosen = copy > 0 or (self._share is not None and rng.random() < self._share)
        counts = AugmentedRows(original=int(not chosen), generated=int(chosen))

        def change(text: str) -> str:
            counts.seen += len(WORD.findall(text))
            return self._changed(text, rng, counts) if chosen else text

        varied = vary(example, change)
        counts.unchanged = int(chosen and varied == example)
        return varied, counts

    def examples(self, task: Task[E], rows: Iterable[E], count: int) -> list[tuple[str, str]]:
        """Return a text of each of the first `count` rows that change, before and after, as the first epoch would vary them."""
        found: list[tuple[str, str]] = []
        for example in islice(rows, LOOKED_AT):
            if len(found) < count and (pair := self._shown(task, example)) is not None:
                found.append(pair)
        return found

    def _shown(self, task: Task[E], example: E) -> tuple[str, str] | None:
        rng = self._draws(0, example, int(self._share is None))
        if self._share is not None:
            rng.random()  # the choice of the row
        pairs: list[tuple[str, str]] = []

        def change(text: str) -> str:
            changed = self._changed(text, rng, AugmentedRows())
            pairs.append((text, changed))
            return changed

        task.vary(example, change)
        return next((pair for pair in pairs if pair[0] != pair[1]), None)

    def _draws(self, epoch: int, example: Example, copy: int) -> random.Random:
        return random_for("augment", self._seed, epoch, example.id, *([copy] if copy else []))

    def _changed(self, text: str, rng: random.Random, counts: AugmentedRows) -> str:
        other = self._instead_of(text, rng, counts)
        pieces = cut(other, self._protection)
        for name, operation in self._operations:
            counts.operations[name] += operation(pieces, rng)
        if other != text:
            counts.changed += len(WORD.findall(text))
        else:
            counts.changed += sum((piece.changed or piece.dropped) and not piece.inserted for piece in pieces)
        return join(pieces) if any(piece.changed or piece.dropped or piece.inserted for piece in pieces) else other

    def _instead_of(self, text: str, rng: random.Random, counts: AugmentedRows) -> str:
        """Return one of the variants that a model wrote of a text, or the text."""
        for index, name, probability in self._rewriting:
            variants = self._rewritten.get((index, text), Variants()).texts
            if variants and rng.random() < probability:
                counts.operations[name] += 1
                return rng.choice(variants)
        return text


def _operation(field: str, operation: AugmentationOperation) -> Operation:
    if operation.synonym_replacement is not None:
        return replace_by_synonyms(
            _table(f"{field}.{operation.name}", operation.synonym_replacement), operation.synonym_replacement.probability
        )
    if operation.word_insertion is not None:
        return insert_synonyms(_table(f"{field}.{operation.name}", operation.word_insertion), operation.word_insertion.probability)
    if operation.word_dropout is not None:
        return drop_words(operation.word_dropout.probability)
    if operation.word_swap is not None:
        return swap_words(operation.word_swap.probability, operation.word_swap.kind)
    if operation.punctuation_insertion is not None:
        return insert_marks(operation.punctuation_insertion.probability)
    if operation.character_noise is not None:
        return make_errors(operation.character_noise.probability, operation.character_noise.kind)
    raise InputError(field, "names no operation", f"give one of {', '.join(NAMES)}")


def _table(field: str, source: SynonymSource) -> Synonyms:
    if source.dictionary is None:
        return wordnet()
    return read_dictionary(f"{field}.dictionary", path_of(f"{field}.dictionary", source.dictionary))
