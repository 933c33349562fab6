"""Turns examples into tokens, and says which of them bear loss: the assistant's turns with their end, never by pad id.

The text is made by the tokenizer's own chat template and tokenized once, without special tokens of its own, so that no
beginning-of-sequence token doubles. Whose words a token is follows from its place in that text. Tests:
tests/trainer/data/test_chat.py.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from trainer.config.errors import InputError
from trainer.data.rows import Example, Message, Tokens

PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n' }}"
    "{% else %}{{ 'Assistant: ' + message['content'] + eos_token + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""Used where a tokenizer has no chat template, as those of base models: words in front of each turn, the end token after an answer."""


@dataclass(frozen=True)
class Span:
    """A stretch of a text, in characters."""

    start: int
    end: int


def ensure_chat_template(tokenizer: Any) -> bool:
    """Give the tokenizer the plain template if it has none; True if so. An exported model then carries what it was trained with."""
    if getattr(tokenizer, "chat_template", None):
        return False
    tokenizer.chat_template = PLAIN_TEMPLATE
    return True


def tokenize(example: Example, tokenizer: Any, max_length: int) -> Tokens:
    """Return the example as tokens, cut after `max_length`.

    Of a chat the assistant's turns bear loss, with the token that ends them; of a text every token but the first, and the
    text is closed with the end-of-sequence token. Raises InputError where the chat template refuses the conversation.
    """
    if example.messages is None:
        return _tokenize_text(example, tokenizer, max_length)
    text = render(example, example.messages, tokenizer)
    spans = answer_spans(example, text, tokenizer)
    if not tokenizer.is_fast:
        return _tokenize_in_pieces(example, text, spans, tokenizer, max_length)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    input_ids, offsets = list(encoded["input_ids"]), list(encoded["offset_mapping"])
    special = special_ids(tokenizer)
    mask = [False] * len(input_ids)
    kept = [_learnt(input_ids, offsets, span, special) for span in spans]
    for learnt in kept:
        for index in learnt:
            mask[index] = index > 0
    size = sum(
        _bytes_of(text, [offsets[index] for index in learnt if index < max_length and input_ids[index] not in special]) for learnt in kept
    )
    return _cut(example, input_ids, mask, size, max_length)


def prompt_and_reference(example: Example, tokenizer: Any) -> tuple[list[int], str]:
    """Return the tokens that an answer is generated from, and the answer of the data, which is not among them."""
    if example.messages is None:
        raise ValueError(f"{example.origin} is a text: it has no prompt")
    text = render(example, example.messages[:-1], tokenizer, generation_prompt=True)
    return _ids(tokenizer, text), example.messages[-1].content.strip()


def render(example: Example, messages: tuple[Message, ...], tokenizer: Any, *, generation_prompt: bool = False) -> str:
    """Return the conversation in the form that the chat template gives it."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    template = getattr(tokenizer, "chat_template", None) or PLAIN_TEMPLATE
    try:
        text = tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False, add_generation_prompt=generation_prompt)
    except Exception as error:  # a template is a program: it raises what it likes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        fix = "change the conversation's roles or their order as the model wants them"
        raise InputError(example.origin, f"the model's chat template refuses the conversation: {reason}", fix) from error
    return str(text)


def answer_spans(example: Example, text: str, tokenizer: Any) -> list[Span]:
    """Return where the assistant's turns stand in the rendered conversation, each from after its heading to its end.

    The conversation is rendered up to each answer and up to its end. Where a template shows a part otherwise than the whole
    (it closes the last turn only, or drops thoughts of earlier ones), the answer's own words are looked for.
    """
    messages = example.messages or ()
    spans: list[Span] = []
    reached = asked = 0
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        before = render(example, messages[:index], tokenizer, generation_prompt=True)
        start = len(before) if text.startswith(before) else _find(text, [*messages[asked:index], message], reached)
        asked = index + 1
        if start < 0:
            fix = "use a model whose template shows answers as they are"
            raise InputError(example.origin, "in the model's chat template an answer cannot be told from the rest", fix)
        through = text if index == len(messages) - 1 else render(example, messages[: index + 1], tokenizer)
        end = max(start + len(message.content.strip()), _common_length(through, text))
        spans.append(Span(start, end))
        reached = end
    return spans


@lru_cache(maxsize=8)
def special_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids of the tokens that are no text; end-of-turn tokens are among them even if they do not end a sequence."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return frozenset(tokenizer.all_special_ids) | frozenset(index for index, token in added.items() if token.special)


def _find(text: str, messages: list[Message], start: int) -> int:
    """Return where the words of the last message begin, after those of the others, or -1."""
    for message in messages[:-1]:
        found = text.find(message.content.strip(), start)
        start = start if found < 0 else found + len(message.content.strip())
    return text.find(messages[-1].content.strip(), start)


def _tokenize_text(example: Example, tokenizer: Any, max_length: int) -> Tokens:
    text = example.text or ""
    input_ids = [int(token) for token in tokenizer(text, verbose=False)["input_ids"]]
    end = tokenizer.eos_token_id
    if end is not None and input_ids[-1:] != [end]:
        input_ids.append(end)
    mask = [index > 0 for index in range(len(input_ids))]
    learnt = input_ids[1:max_length]
    if len(input_ids) <= max_length and input_ids[:1] == [getattr(tokenizer, "bos_token_id", None)]:
        size = len(text.encode())
    else:
        size = len(tokenizer.decode(learnt, skip_special_tokens=True, clean_up_tokenization_spaces=False).encode())
    return _cut(example, input_ids, mask, size, max_length)


def _tokenize_in_pieces(example: Example, text: str, spans: list[Span], tokenizer: Any, max_length: int) -> Tokens:
    """Tokenize for tokenizers that do not tell where a token stands: growing beginnings of the text, each a beginning of the next."""
    borders = [0, *(border for span in spans for border in (span.start, span.end)), len(text)]
    beginnings = [_ids(tokenizer, text[:border]) for border in borders]
    input_ids = beginnings[-1]
    for beginning in beginnings:
        if input_ids[: len(beginning)] != beginning:
            fix = "use a model with a fast tokenizer (tokenizer.json)"
            raise InputError(example.origin, "this tokenizer joins an answer's first or last word with the words around it", fix)
    special = special_ids(tokenizer)
    mask = [False] * len(input_ids)
    size = 0
    for number, (start, end) in enumerate(pairwise(len(beginning) for beginning in beginnings)):
        if number % 2 == 1:  # heading, answer, heading, answer, …
            learnt = _up_to_last_special(list(range(start, end)), input_ids, special)
            for index in learnt:
                mask[index] = index > 0
            words = [input_ids[index] for index in learnt if index < max_length and input_ids[index] not in special]
            size += len(tokenizer.decode(words, clean_up_tokenization_spaces=False).encode())
    return _cut(example, input_ids, mask, size, max_length)


def _learnt(input_ids: list[int], offsets: list[tuple[int, int]], span: Span, special: frozenset[int]) -> list[int]:
    """Return the indices of the tokens that stand wholly in a span, up to the token that ends the turn."""
    inside = [index for index, (start, end) in enumerate(offsets) if start >= span.start and end <= span.end and end > start]
    return _up_to_last_special(inside, input_ids, special)


def _up_to_last_special(indices: list[int], input_ids: list[int], special: frozenset[int]) -> list[int]:
    """Drop what a template writes after the end-of-turn token, such as a line break: generation stops before it."""
    ends = [place for place, index in enumerate(indices) if input_ids[index] in special]
    return indices[: ends[-1] + 1] if ends else indices


def _cut(example: Example, input_ids: list[int], mask: list[bool], loss_bytes: int, max_length: int) -> Tokens:
    truncated = len(input_ids) > max_length
    return Tokens(example.id, tuple(input_ids[:max_length]), tuple(mask[:max_length]), loss_bytes, truncated)


def _bytes_of(text: str, offsets: list[tuple[int, int]]) -> int:
    """Return the UTF-8 size of a stretch of text; characters that are spread over several tokens count once."""
    return len(text[offsets[0][0] : offsets[-1][1]].encode()) if offsets else 0


def _ids(tokenizer: Any, text: str) -> list[int]:
    return [int(token) for token in tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]


def _common_length(first: str, second: str) -> int:
    if second.startswith(first):
        return len(first)
    return next((index for index, (one, other) in enumerate(zip(first, second, strict=False)) if one != other), len(second))
