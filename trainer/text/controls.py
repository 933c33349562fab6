"""Control tokens, which steer a model instead of being text, and texts that contain their names.

A question that contains `<|im_end|>` must not end the turn: in the words of a row, names of control tokens are text.
Tests: tests/trainer/text/test_controls.py.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

NEVER = re.compile(r"(?!)")
TAG = r"</?[^<>\s]{1,40}>|\[/?[^\[\]\s]{1,40}\]"
"""Matches a tag, such as <think> or [INST]; templates search the words of a row for tags."""
THOUGHT = re.compile(r"think|thought|reason", re.IGNORECASE)
SHORTEST = 3
"""Shortest name, in characters, that counts as a control token's: a pad token may be a plain exclamation mark."""


@lru_cache(maxsize=8)
def special_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids of tokens that are not text, including end-of-turn tokens that do not end a sequence."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return frozenset(tokenizer.all_special_ids) | frozenset(index for index, token in added.items() if token.special)


@lru_cache(maxsize=8)
def markup_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids that may end a turn: special tokens, and added tokens that look like tags."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return special_ids(tokenizer) | frozenset(index for index, token in added.items() if re.fullmatch(TAG, str(token)))


def in_text(tokenizer: Any) -> re.Pattern[str]:
    """Return the pattern for plain text: the names of special tokens."""
    return _pattern(frozenset(_special_names(tokenizer)))


def in_turns(tokenizer: Any, template: str) -> re.Pattern[str]:
    """Return the pattern for turns that the model reads: special tokens, and added tokens that the template writes."""
    return _pattern(frozenset(_special_names(tokenizer)) | _written_tags(tokenizer, template))


def in_answers(tokenizer: Any, template: str) -> re.Pattern[str]:
    """Return the pattern for answers: special tokens, except the thought tags that the template handles itself."""
    return _pattern(frozenset(name for name in _special_names(tokenizer) if not (THOUGHT.search(name) and name in template)))


@lru_cache(maxsize=8)
def _special_names(tokenizer: Any) -> frozenset[str]:
    names = (str(tokenizer.convert_ids_to_tokens(index)) for index in special_ids(tokenizer))
    return frozenset(name for name in names if len(name) >= SHORTEST)


@lru_cache(maxsize=8)
def _written_tags(tokenizer: Any, template: str) -> frozenset[str]:
    names = (str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values())
    return frozenset(name for name in names if name in template and re.fullmatch(TAG, name))


@lru_cache(maxsize=32)
def _pattern(names: frozenset[str]) -> re.Pattern[str]:
    return re.compile(_alternatives(names)) if names else NEVER


def _alternatives(names: Collection[str]) -> str:
    """Return a pattern of names, longest first, grouped by common prefix: a vocabulary may have thousands of them."""
    heads: dict[str, list[str]] = {}
    for name in names:
        if name:
            heads.setdefault(name[0], []).append(name[1:])
    branches = [re.escape(head) + _alternatives(rests) for head, rests in sorted(heads.items())]
    joined = branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})" if branches else ""
    return f"(?:{joined})?" if branches and "" in names else joined
