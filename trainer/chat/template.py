"""Renders conversations with a model's chat template, using the run's date where a template asks for one.

Tests: tests/trainer/chat/test_template.py.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from finetune.api.errors import InputError
from trainer.chat.example import ChatExample, Message

PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n' }}"
    "{% else %}{{ 'Assistant: ' + message['content'] + eos_token + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""For tokenizers without a chat template, such as those of base models: a label before each turn, the end token after an answer."""

TIME_ATTRIBUTE = "finetune_template_time"
"""Attribute set on a tokenizer: the ISO time that its chat template uses as the current time."""

Wire = dict[str, Any]
"""A message as chat templates read it."""


@dataclass(frozen=True)
class CallForm:
    """How a chat template reads a turn that calls tools; see calls.py."""

    text: bool = False
    """The arguments are JSON in a text, not an object."""
    absent: bool = False
    """A content without words is left out, not an empty text."""


OBJECTS = CallForm()


def ensure_chat_template(tokenizer: Any) -> bool:
    """Give the tokenizer the plain template if it has none; return whether it did. Exported models then keep it."""
    if getattr(tokenizer, "chat_template", None):
        return False
    tokenizer.chat_template = PLAIN_TEMPLATE
    return True


def uses_plain_template(tokenizer: Any) -> bool:
    """Return whether conversations are rendered with the plain template because the model has none of its own."""
    return getattr(tokenizer, "chat_template", None) in (None, "", PLAIN_TEMPLATE)


def check_answers_end(tokenizer: Any) -> None:
    """Raise InputError for a tokenizer without any token that could end an answer."""
    if uses_plain_template(tokenizer) and tokenizer.eos_token_id is None:
        problem = "the tokenizer has neither a chat template nor an end-of-sequence token, so answers could not end"
        raise InputError("model", problem, "use another model")


def template_of(tokenizer: Any, tools: Sequence[Any] | None = None) -> str:
    """Return the template's text; a tokenizer may have a separate one for conversations with tools."""
    given = getattr(tokenizer, "chat_template", None)
    if not given:
        return PLAIN_TEMPLATE
    return str(tokenizer.get_chat_template(None, tools)) if isinstance(given, dict) else str(given)


def reads_clock(tokenizer: Any) -> bool:
    """Return whether the rendered text depends on the current time."""
    given = getattr(tokenizer, "chat_template", None) or ""
    return any("strftime_now" in str(text) for text in (given.values() if isinstance(given, dict) else [given]))


def pin_time(tokenizer: Any, moment: str | None) -> None:
    """Fix the template's current time (ISO), so that a run has the same tokens every day; None restores the real time."""
    setattr(tokenizer, TIME_ATTRIBUTE, moment)


def wire_of(messages: Sequence[Message], form: CallForm = OBJECTS) -> list[Wire]:
    """Return messages as templates expect them; transformers adds the other names that templates use for thoughts."""
    return [_wire(message, form) for message in messages]


def _wire(message: Message, form: CallForm) -> Wire:
    wire: Wire = {"role": message.role, "content": message.content}
    if message.calls and form.absent and not message.content.strip():
        del wire["content"]
    if message.reasoning:
        wire["reasoning_content"] = message.reasoning
    if message.calls:
        wire["tool_calls"] = [
            ({} if call.id is None else {"id": call.id})
            | {
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments if form.text else json.loads(call.arguments)},
            }
            for call in message.calls
        ]
    more = {"tool_call_id": message.call_id, "name": message.name}
    return wire | {key: value for key, value in more.items() if value is not None}


def tools_of(example: ChatExample) -> list[Any] | None:
    """Return the function schemas of a row, decoded from JSON; None if it has none."""
    return None if example.tools is None else list(json.loads(example.tools))


def write(tokenizer: Any, turns: Sequence[Wire], tools: Sequence[Any] | None = None, *, generation_prompt: bool = False) -> str:
    """Return the rendered text; a template is a program and may raise any exception."""
    template = template_of(tokenizer, tools)
    if "strftime_now" in template:
        _set_clock(template, getattr(tokenizer, TIME_ATTRIBUTE, None))
    text = tokenizer.apply_chat_template(
        list(turns), tools=tools, chat_template=template, tokenize=False, add_generation_prompt=generation_prompt
    )
    return str(text)


def render(
    example: ChatExample, turns: Sequence[Wire], tools: Sequence[Any] | None, tokenizer: Any, *, generation_prompt: bool = False
) -> str:
    """Return the rendered text of a row; raises InputError with the template's own message if it rejects the row."""
    try:
        return write(tokenizer, turns, tools, generation_prompt=generation_prompt)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        fix = "change the conversation's roles or their order to what the model accepts"
        raise InputError(example.origin, f"the model's chat template refuses the conversation: {reason}", fix) from error


def _set_clock(template: str, moment: str | None) -> None:
    """Replace `strftime_now` in the compiled template that transformers caches: it accepts no function as an argument."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    def strftime_now(form: str) -> str:
        return (datetime.now().astimezone() if moment is None else datetime.fromisoformat(moment)).strftime(form)

    _compile_jinja_template(template).globals["strftime_now"] = strftime_now
