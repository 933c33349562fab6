"""What the values of a row look like: classes, answers to questions, languages. `finetune init` judges a file by it.

The trainer, which reads every row, decides what they are. Tests: tests/finetune/cli/test_guess.py.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

LONGEST_CLASS = 60
"""Characters of a class's name; a longer text says something."""
LANGUAGES = {
    "arabic": "ar", "bengali": "bn", "bulgarian": "bg", "chinese": "zh", "croatian": "hr", "czech": "cs", "danish": "da", "dutch": "nl",
    "english": "en", "estonian": "et", "finnish": "fi", "french": "fr", "german": "de", "greek": "el", "hebrew": "he", "hindi": "hi",
    "hungarian": "hu", "icelandic": "is", "indonesian": "id", "irish": "ga", "italian": "it", "japanese": "ja", "korean": "ko",
    "latvian": "lv", "lithuanian": "lt", "norwegian": "no", "persian": "fa", "polish": "pl", "portuguese": "pt", "romanian": "ro",
    "russian": "ru", "slovak": "sk", "slovenian": "sl", "spanish": "es", "swahili": "sw", "swedish": "sv", "tamil": "ta", "thai": "th",
    "turkish": "tr", "ukrainian": "uk", "urdu": "ur", "vietnamese": "vi",
}  # fmt: skip
"""Names and codes by which columns are often called; any other language is written into the job by hand."""
CODE = re.compile(r"([a-z]{2})([-_][A-Z]{2})?")


def language_of(name: str) -> str | None:
    """Return the code of the language that a column is called as; None if it is called otherwise."""
    code = CODE.fullmatch(name)
    return name if code and code[1] in LANGUAGES.values() else LANGUAGES.get(name.lower())


def classes_of(value: Any) -> tuple[str, ...] | None:
    """Return the classes that a value names: a short text, a whole number, or a list of these; None for what cannot be classes."""
    if isinstance(value, str) and value.strip().startswith("["):
        value = _from_json(value)
    if value is None:
        return ()
    found: list[str] = []
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, str | int) and not (isinstance(item, float) and item.is_integer()):
            return None
        name = str(item).strip()
        if len(name) > LONGEST_CLASS or "\n" in name:
            return None
        found += [name] if name else []
    return tuple(found)


def answer_texts(value: Any) -> tuple[str, ...] | None:
    """Return the answers in a text, a list, or SQuAD's {text, answer_start}; None for a value that holds no texts."""
    if isinstance(value, str):
        decoded = _from_json(value) if value.lstrip().startswith(("[", "{")) else value
        if isinstance(decoded, str) or answer_texts(decoded) is None:
            return (value.strip(),) if value.strip() else ()
        value = decoded
    if isinstance(value, Mapping):
        return answer_texts(value["text"]) if "text" in value else None
    if not isinstance(value, list):
        return () if value is None else None
    found = [answer_texts(item) for item in value]
    return None if None in found else tuple(text for texts in found for text in texts or ())


def questions_in(rows: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield rows, and in place of SQuAD's articles and paragraphs their questions, each with its context."""
    for row in rows:
        paragraphs = row.get("paragraphs")
        for paragraph in paragraphs if isinstance(paragraphs, list) else [row]:
            asked = paragraph.get("qas") if isinstance(paragraph, Mapping) and "context" in paragraph else None
            if isinstance(asked, list):
                yield from ({**question, "context": paragraph["context"]} for question in asked if isinstance(question, Mapping))
            elif paragraph is row:
                yield row


def holds_nested_questions(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether all rows are articles or paragraphs as SQuAD has them, with a question among them."""
    found, plain = list(questions_in(rows)), set(map(id, rows))
    return bool(found) and all("question" in one and id(one) not in plain for one in found)


def _from_json(text: str) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return text
