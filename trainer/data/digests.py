"""Compares rows by 16-byte digests in arrays, because sets of texts, or even of hashes, of millions of rows do not fit in memory.

An array of n digests has the shape (n, 2) and the type uint64, in the byte order of the digest. Tests:
tests/trainer/data/test_digests.py.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 16
"""Two of 10 million different rows have the same digest with a probability of 1.5e-25."""
HALF = np.dtype(">u8")
Digests = NDArray[np.uint64]


def digest(content: bytes) -> bytes:
    """Return the digest of `content`, `DIGEST_BYTES` long."""
    return blake2b(content, digest_size=DIGEST_BYTES).digest()


def as_digests(joined: bytes | bytearray) -> Digests:
    """Return concatenated digests as an array that shares their memory."""
    return np.frombuffer(joined, HALF).reshape(-1, 2)


def collect(digests: Iterable[bytes]) -> Digests:
    """Return an array of the digests that `digests` yields."""
    joined = bytearray()
    for one in digests:
        joined += one
    return as_digests(joined)


def numbered(digests: Digests) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number the distinct digests in sorted order; return each row's number, and the first row with each number.

    Needs about 50 bytes a row while it works.
    """
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    in_order = digests[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (in_order[1:] != in_order[:-1]).any(axis=1)
    numbers = np.empty(len(order), np.int32)
    numbers[order] = np.cumsum(new, dtype=np.int32) - 1
    return numbers, order[new]  # the sort is stable: the first of equals is the first row


def repeats(digests: Digests) -> NDArray[np.bool_]:
    """Return for each row whether an earlier one has the same digest."""
    found = np.ones(len(digests), np.bool_)
    found[numbered(digests)[1]] = False
    return found


def is_among(digests: Digests, others: Digests) -> NDArray[np.bool_]:
    """Return for each row of `digests` whether one of `others` equals it."""
    numbers, firsts = numbered(np.concatenate([others, digests]))
    known = firsts < len(others)
    return known[numbers[len(others) :]]
