"""Tokenizes conversations and decides which tokens have loss: the assistant's turns with their end token, never judged by pad id.

The text is made by the tokenizer's own chat template and tokenized once, without special tokens of its own, so that no
beginning-of-sequence token doubles. A token's position in that text decides whose turn it belongs to. Tests:
tests/trainer/chat/test_tokens.py.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from finetune.api.errors import InputError
from trainer.chat.calls import CallEnd, call_end_of
from trainer.chat.example import ChatExample
from trainer.chat.turnend import TurnEnd, ending_of
from trainer.chat.turns import Conversation, Turn, conversation_of
from trainer.data.rows import Piece, Sample
from trainer.text.batches import in_batches
from trainer.text.controls import in_text
from trainer.text.encoding import Encoded, encode_each, tokens_before


@dataclass(frozen=True)
class Reading:
    """A conversation in tokens, with the tokens of each learned turn."""

    example: ChatExample
    conversation: Conversation
    encoded: Encoded
    learned: tuple[range, ...]

    def piece(self, tokenizer: Any, max_length: int) -> Piece[ChatExample]:
        """Return the row for training, with a note on how the template renders it."""
        return Piece(self.example, self.tokens(tokenizer, max_length), note=self.conversation.note())

    def tokens(self, tokenizer: Any, max_length: int) -> Sample:
        """Return the row as the model sees it, cut after `max_length`: the assistant's turns have loss, with the token that ends them."""
        input_ids = self.encoded.input_ids
        mask = bytearray(len(input_ids))
        size = 0
        for place in self.learned:
            mask[place.start : place.stop] = b"\1" * len(place)
            size += len(self.encoded.words(range(place.start, min(place.stop, max_length)), tokenizer).encode())
        mask[:1] = b"\0" * len(mask[:1])
        return Sample(self.example.id, input_ids[:max_length], mask[:max_length], size, truncated=len(input_ids) > max_length, tail=0)


def prompt_and_reference(example: ChatExample, tokenizer: Any) -> tuple[list[int], str]:
    """Return the prompt's tokens and the reference answer, which is not among them.

    The prompt is what precedes the last learned answer in the training form, whatever the template's generation prompt is.
    """
    reading = read(example, tokenizer)
    turn = [turn for turn in reading.conversation.turns if turn.learned][-1]
    opening = in_text(tokenizer).sub("", ending_of(tokenizer).opening)
    reference = _spoken(reading.conversation, turn, tokenizer).removeprefix(opening).strip()
    return reading.encoded.input_ids[: reading.learned[-1].start], reference


def read(example: ChatExample, tokenizer: Any) -> Reading:
    """Return a conversation as tokens, with the range of each learned turn.

    Raises InputError if the chat template rejects the conversation, or if a token cannot be assigned to a turn.
    """
    (reading,) = read_all([example], tokenizer)
    return reading


def read_all(examples: Iterable[ChatExample], tokenizer: Any) -> Iterator[Reading]:
    """Yield conversations as tokens, with the range of each learned turn; they are tokenized in batches."""
    ending = ending_of(tokenizer)
    conversations = ((example, conversation_of(example, tokenizer)) for example in examples)
    for batch in in_batches(conversations, lambda pair: len(pair[1].text)):
        texts = [(conversation.text, conversation.literals, [turn.start for turn in conversation.turns]) for _, conversation in batch]
        for (example, conversation), encoded in zip(batch, encode_each(texts, tokenizer), strict=True):
            yield Reading(example, conversation, encoded, _learned(example, conversation, encoded, ending, tokenizer))


def _learned(example: ChatExample, conversation: Conversation, encoded: Encoded, ending: TurnEnd, tokenizer: Any) -> tuple[range, ...]:
    """Return the tokens of each learned turn; raises InputError for a token that contains words of two turns."""
    places = []
    for turn in conversation.turns:
        place = _tokens_of(turn, conversation, encoded, call_end_of(tokenizer) if turn.calls else ending, tokenizer)
        if place is None:
            fix = "use a model with a fast tokenizer (tokenizer.json)" if encoded.offsets is None else "use another model"
            raise InputError(example.origin, "this tokenizer joins an answer's first or last word with the words around it", fix)
        if turn.learned:
            places.append(place)
    return tuple(places)


def _tokens_of(turn: Turn, conversation: Conversation, encoded: Encoded, ending: TurnEnd | CallEnd, tokenizer: Any) -> range | None:
    """Return the tokens of a turn with its end token; None if one of them also contains words of another turn.

    What a template writes after the end token, such as a line break, is not learned: generation stops before it.
    """
    start = tokens_before(turn.start, encoded, tokenizer, conversation.literals)
    words = _first_border(turn.words_end, turn.limit, conversation, encoded, tokenizer)
    limit = _last_border(turn.limit, turn.words_end, conversation, encoded, tokenizer)
    if start is None or words is None or limit is None:
        return None
    end = next((index + 1 for index in range(words, limit) if encoded.input_ids[index] in ending.tokens), None)
    if end is None:
        end = _first_border(turn.text_end, turn.limit, conversation, encoded, tokenizer) or words
        if turn.last and ending.appended is not None:
            encoded.append(ending.appended)
            end = len(encoded.input_ids)
    return range(start, end)


def _first_border(place: int, limit: int, conversation: Conversation, encoded: Encoded, tokenizer: Any) -> int | None:
    """Return the number of tokens up to `place` or, if a token spans it, up to that token's end."""
    found = (tokens_before(border, encoded, tokenizer, conversation.literals) for border in range(place, limit + 1))
    return next((count for count in found if count is not None), None)


def _last_border(place: int, limit: int, conversation: Conversation, encoded: Encoded, tokenizer: Any) -> int | None:
    """Return the number of tokens up to `place` or, if a token spans it, up to that token's beginning."""
    found = (tokens_before(border, encoded, tokenizer, conversation.literals) for border in range(place, limit - 1, -1))
    return next((count for count in found if count is not None), None)


def _spoken(conversation: Conversation, turn: Turn, tokenizer: Any) -> str:
    """Return a turn's text without the template's control tokens, as a generated answer is shown."""
    text, places = conversation.text, set(conversation.literals)
    names = [name.span() for name in in_text(tokenizer).finditer(text, turn.start, turn.words_end) if name.span() not in places]
    borders = [turn.start, *(place for name in names for place in name), turn.words_end]
    return "".join(text[start:end] for start, end in zip(borders[::2], borders[1::2], strict=True))
