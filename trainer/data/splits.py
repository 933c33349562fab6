"""Drops duplicate rows and splits rows into train, validation and test, so that no prompt is on two sides.

The side of a row depends only on its prompt's hash, not on the seed, the order of the file or the
other rows; only a row of a class that no training row has goes back to these. Works on digests, not on
rows (see digests.py). Tests: tests/trainer/data/test_splits.py, tests/trainer/preflight/test_prepare.py.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.api.errors import InputError
from finetune.api.sources import Data
from finetune.api.tasks import in_words
from trainer.data.digests import Digests, is_among, numbered, repeats
from trainer.data.rowstore import StoredRows
from trainer.data.sampled import count_of, some_of

Sides = tuple[StoredRows, StoredRows, StoredRows]
"""Training, validation and test rows."""
Untaught = Callable[[Iterable[Any], Iterable[Any]], Mapping[int, tuple[str, ...]]]
"""A task's `untaught`."""


def without_duplicates(name: str, rows: StoredRows) -> tuple[StoredRows, list[str]]:
    """Keep the first of equal rows; return the kept rows and a finding that counts the others. `name` is the field, such as data.train."""
    repeated = repeats(rows.contents)
    count = int(repeated.sum())
    if count == 0:
        return rows, []
    first = rows[int(repeated.argmax())].origin
    words = "1 row repeats an earlier one and is" if count == 1 else f"{count} rows repeat earlier ones and are"
    return rows.only(~repeated), [f"{name}: {words} left out (the first: {first})"]


def without_leakage(name: str, rows: StoredRows, held_out: Mapping[str, StoredRows]) -> tuple[StoredRows, list[str]]:
    """Return the rows whose prompt is in none of the held-out sets, and findings that count the others. InputError if none is left."""
    findings: list[str] = []
    kept = rows
    for other, others in held_out.items():
        leaking = is_among(kept.prompts, others.prompts)
        count = int(leaking.sum())
        if count and count == len(kept):
            problem = f"no row is left: each is also in {other}, so the figures there would only measure memorization"
            raise InputError(name, problem, "give different rows, or hold some out with data.validationFraction and data.testFraction")
        if count:
            words, first = "1 row was" if count == 1 else f"{count} rows were", kept[int(leaking.argmax())].origin
            findings.append(f"{name}: {words} left out, because the same prompt is in {other} (the first: {first})")
            kept = kept.only(~leaking)
    return kept, findings


def divide(data: Data, rows: StoredRows) -> Sides:
    """Split the training rows by validationFraction and testFraction; return (train, validation, test).

    Test rows have the lowest hashes and validation rows the highest, so that changing one fraction leaves the other set
    unchanged. A set that is empty by chance gets the prompt nearest to it. Raises InputError if there are too few prompts.
    """
    validation_share, test_share = data.validation_fraction or 0.0, data.test_fraction or 0.0
    if not validation_share and not test_share:
        nothing = rows[:0]
        return rows, nothing, nothing
    prompts = rows.prompts
    numbers, firsts = numbered(prompts)  # a prompt's number is ordered like its hash, and so like its place
    places = _places(prompts[firsts])
    sides = 1 + (validation_share > 0) + (test_share > 0)
    if len(places) < sides:
        field = "data.validationFraction" if validation_share else "data.testFraction"
        raise InputError(field, f"{len(places)} different prompts cannot be divided into {sides} sets", "give more training rows")
    test = places < test_share
    if test_share and not test.any():
        test[0] = True
    validation = (places >= 1 - validation_share) & ~test
    if validation_share and not validation.any():
        validation[np.flatnonzero(~test)[-1:]] = True
    train = ~(test | validation)
    if not train.any():
        problem = "data.validationFraction and data.testFraction leave no row to train on"
        raise InputError("data.train", problem, "lower them or give more training rows")
    return rows.only(train[numbers]), rows.only(validation[numbers]), rows.only(test[numbers])


def put_back(rows: StoredRows, sides: Sides, untaught: Untaught) -> tuple[Sides, list[str]]:
    """Learn the rows of a division of `rows` whose classes no training row has, with all of their prompt; return the sides, and a finding.

    Raises InputError where nothing is left to measure.
    """
    train, *drawn = sides
    held_out = StoredRows(rows.store, np.concatenate([side.places for side in drawn]))
    found = untaught(train, held_out) if len(held_out) else {}
    if not found:
        return sides, []
    prompts = held_out.prompts[list(found)]
    validation, test = (side.only(~is_among(side.prompts, prompts)) for side in drawn)
    names = some_of(sorted({name for lacking in found.values() for name in lacking}))
    shares = []
    for share, before, after in (("validationFraction", drawn[0], validation), ("testFraction", drawn[1], test)):
        if len(before) and not len(after):
            problem = f"no row is left to hold out: no other row has the classes of the {count_of(len(before))} drawn ({names})"
            own = f"data.{share.removesuffix('Fraction')}"
            raise InputError(f"data.{share}", problem, f"give more training rows of each class, or {own} instead")
        if len(after) < len(before):
            shares.append(share)
    learned = rows.only(is_among(rows.prompts, np.concatenate([train.prompts, prompts])))  # in the order of the file
    moved = count_of(len(learned) - len(train))
    finding = f"data.train: {moved} drawn by {in_words(shares)} to be held out will be learned, because no other row has the class: {names}"
    return (learned, validation, test), [finding]


def _places(prompts: Digests) -> NDArray[np.float64]:
    """Return the fixed place of each prompt in [0, 1): its first 52 bits."""
    return (prompts[:, 0] >> np.uint64(12)).astype(np.float64) / 2.0**52
