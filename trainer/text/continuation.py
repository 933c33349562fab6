"""A prompt and its continuation as tokens, without a chat template: as the model will see them when it continues the prompt.

The text is always cut where the continuation begins: a token across that place would not exist when the prompt is given alone. Tests:
tests/trainer/text/test_continuation.py.
"""

from typing import Any

from trainer.data.rows import Sample
from trainer.text.encoding import Encoded, encode_after, encode_prompt


def prompt_ids(prompt: str, tokenizer: Any) -> list[int]:
    """Return the tokens of a prompt, after those that the tokenizer puts before a text."""
    return encode_prompt(prompt, tokenizer)


def continued(name: str, prompt: str, continuation: str, tokenizer: Any, max_length: int) -> Sample:
    """Return prompt and continuation as a sample of at most `max_length` tokens; the continuation has loss, and the token after it."""
    asked, written = encode_prompt(prompt, tokenizer), encode_after(continuation, tokenizer)
    text_tokens = len(written.input_ids)
    if tokenizer.eos_token_id is not None:
        written.append(tokenizer.eos_token_id)
    input_ids = [*asked, *written.input_ids]
    mask = bytearray(len(asked)) + b"\1" * len(written.input_ids)
    mask[:1] = b"\0"
    kept = range(min(text_tokens, max(0, max_length - len(asked))))
    size = len(_words(written, kept, text_tokens, continuation, tokenizer).encode())
    return Sample(name, input_ids[:max_length], mask[:max_length], size, truncated=len(input_ids) > max_length, tail=0)


def _words(written: Encoded, kept: range, whole: int, continuation: str, tokenizer: Any) -> str:
    return continuation if len(kept) == whole else written.words(kept, tokenizer)
