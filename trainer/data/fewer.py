"""Draws fewer training rows: data.maxTrainRows. Which rows are drawn depends on the seed and on what rows hold, not on their order.

All rows are put in one order, whose first ones are drawn, so that fewer rows are always among more. Rows that share few answers, as
those of classes do, take turns by answer; before that come rows which bring a class that no row before them has.
Test: tests/trainer/data/test_fewer.py.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from finetune.api.errors import InputError
from trainer.data.digests import Digests
from trainer.data.rows import Example
from trainer.data.rowstore import StoredRows
from trainer.data.sampled import count_of

FIELD = "data.maxTrainRows"


def fewer_rows(rows: StoredRows, most: int | None, seed: int) -> tuple[StoredRows, list[str]]:
    """Return at most `most` rows, in their own order, and a finding that says so. InputError where a class would have none."""
    if most is None:
        return rows, []
    if most >= len(rows):
        return rows, [f"{FIELD}: without effect, there are only {count_of(len(rows))} to train on"]
    classes = [example.classes for example in rows] if rows.store.kind.few_answers else []
    order, needed = draw(rows.contents, classes, seed)
    check_enough(FIELD, most, classes, needed)
    chosen = np.zeros(len(rows), np.bool_)
    chosen[order[:most]] = True
    of = f", of each of the {len(set().union(*classes))} classes" if classes else ""
    return rows.only(chosen), [f"data.train: {count_of(most)} of {len(rows)} are learned{of}, drawn by {FIELD}"]


def least_rows(examples: Iterable[Example], contents: Digests, seed: int) -> int:
    """Return how many rows it takes for each class to have one; 1 for rows without classes."""
    classes = [example.classes for example in examples if example.few_answers]
    return max(1, draw(contents, classes, seed)[1]) if classes else 1


def check_enough(field: str, most: int, classes: Sequence[tuple[str, ...]], needed: int) -> None:
    """Raise InputError where so many rows cannot have all classes."""
    if most >= needed:
        return
    count = len(set().union(*classes))
    whose = f"the training rows have {count} classes, and held-out rows of a class that no row teaches cannot be right"
    raise InputError(field, f"is {most}, too few: {whose}", f"give at least {needed}")


def draw(contents: Digests, classes: Sequence[tuple[str, ...]], seed: int) -> tuple[NDArray[np.int64], int]:
    """Return the rows' indices in the order in which they are drawn, and how many rows it takes for each class to have one.

    `classes` are those of each row, or empty where rows have none.
    """
    by_hash = _in_order_of_hashes(contents, seed)
    if not classes:
        return by_hash, 0
    seen, first, rest = set[str](), list[int](), list[tuple[int, int]]()
    turns: dict[tuple[str, ...], int] = {}
    for index in map(int, by_hash):
        own = classes[index]
        turn = turns[own] = turns.get(own, -1) + 1
        if seen.issuperset(own):
            rest.append((turn, index))
        else:
            seen.update(own)
            first.append(index)
    rest.sort(key=lambda pair: pair[0])  # stable: by hash within a turn
    return np.array([*first, *(index for _, index in rest)], np.int64), len(first)


def _in_order_of_hashes(contents: Digests, seed: int) -> NDArray[np.int64]:
    key = seed.to_bytes(8, "little")
    whole = np.ascontiguousarray(contents)
    keys = np.frombuffer(b"".join(blake2b(one.tobytes(), digest_size=8, key=key).digest() for one in whole), ">u8")
    return np.lexsort((whole[:, 1], whole[:, 0], keys))
