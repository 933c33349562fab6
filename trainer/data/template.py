"""Writes conversations in the form of a model's chat template, and finds the assistant's words in what it wrote.

Tests: tests/trainer/data/test_chat.py.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trainer.config.errors import InputError
from trainer.data.rows import Example, Message

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
    """Where an answer stands in a text, in characters. `ends_before_token`: the token that ends the turn comes after it."""

    start: int
    end: int
    ends_before_token: bool = False


def ensure_chat_template(tokenizer: Any) -> bool:
    """Give the tokenizer the plain template if it has none; True if so. An exported model then carries what it was trained with."""
    if getattr(tokenizer, "chat_template", None):
        return False
    tokenizer.chat_template = PLAIN_TEMPLATE
    return True


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
        words = message.content if text.startswith(message.content, start) else message.content.strip()
        end, end_of_words = _common_length(through, text), start + len(words)
        spans.append(Span(start, max(end, end_of_words), ends_before_token=end < end_of_words))
        end = spans[-1].end
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


def _common_length(first: str, second: str) -> int:
    if second.startswith(first):
        return len(first)
    return next((index for index, (one, other) in enumerate(zip(first, second, strict=False)) if one != other), len(second))
