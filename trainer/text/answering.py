"""A text and the answer to it as tokens of an encoder-decoder: what its encoder reads, and what its decoder writes with its end.

The source is tokenized as the tokenizer does it, with its special tokens, the target likewise, up to its end token. Each is cut at
its end to the maximum length: the source keeps its special tokens, the target then has no end. Tests:
tests/trainer/text/test_answering.py, tests/trainer/tasks/test_conformance.py.
"""

import sys
from collections.abc import Sequence
from typing import Any

from trainer.data.rows import Sample
from trainer.text.directions import Direction, reading, writing
from trainer.text.encoding import Encoded, cut_source, encode_texts


def end_of(tokenizer: Any) -> int | None:
    """Return the token that ends what a decoder writes: the end of a sequence, or BERT's [SEP]; None if a tokenizer has neither."""
    found = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    return None if found is None else int(found)


def source_ids(texts: Sequence[str], direction: Direction, tokenizer: Any) -> list[list[int]]:
    """Return what the encoder reads of each text; never nothing."""
    with reading(direction, tokenizer):
        found = encode_texts([direction.prefix + text for text in texts], tokenizer, offsets_from=sys.maxsize)
    return [encoded.input_ids or [_end(tokenizer)] for encoded in found]


def answered(
    names: Sequence[str], texts: Sequence[str], answers: Sequence[str], direction: Direction, tokenizer: Any, max_length: int
) -> list[Sample]:
    """Return samples of these names: the sources of `texts`, and `answers`, which have loss."""
    sources = source_ids(texts, direction, tokenizer)
    with writing(direction, tokenizer):
        targets = encode_texts(answers, tokenizer, offsets_from=max_length)
    return [
        _sample(name, source, answer, target, tokenizer, max_length)
        for name, source, answer, target in zip(names, sources, answers, targets, strict=True)
    ]


def _sample(name: str, source: list[int], answer: str, target: Encoded, tokenizer: Any, max_length: int) -> Sample:
    read, end = cut_source(source, max_length, tokenizer), _end(tokenizer)
    written = list(target.input_ids)
    # Some tokenizers write a language after the end, where nothing is generated any more.
    after = next((place for place, token in enumerate(reversed(written)) if token == end), None)
    written = [*written, end] if after is None else written[: len(written) - after]
    kept = written[:max_length]
    words = answer if len(kept) == len(written) else target.words(range(len(kept)), tokenizer)
    cut = len(source) > max_length or len(written) > max_length
    return Sample(name, [*read, *kept], [0] * len(read) + [1] * len(kept), len(words.encode()), truncated=cut, tail=len(kept))


def _end(tokenizer: Any) -> int:
    end = end_of(tokenizer)
    if end is None:
        raise ValueError("the tokenizer has no token that ends an answer")
    return end
