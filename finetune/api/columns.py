"""Which columns of a source hold what: the section that tasks read rows by, and the names that they know without it.

A sentence under each field is its documentation: it appears in the CRD and so in `kubectl explain`. Tests:
tests/finetune/api/test_schema.py, tests/integration/test_malformed_jobs.py.
"""

from typing import Annotated

from pydantic import Field

from finetune.api.base import WireModel, at_most_one
from finetune.api.tasks import in_words, tasks_reading

PROMPT_NAMES = ("prompt", "instruction", "question", "query", "input")
TEXT_NAMES = ("text", "sentence", "content", "message", "utterance", "review", "document")
LABEL_NAMES = ("label", "labels", "category", "intent", "class", "sentiment")
COMPLETION_NAMES = ("completion", "output", "response", "answer")

ColumnName = Annotated[str, Field(min_length=1, max_length=256)]


class Columns(WireModel):
    """Which columns of a source hold what. A chat source has `messages`, or `prompt` and `completion`; text has `text`.

    Where none is named, `messages` (or `conversations`) and `prompt` with `completion` are looked for; then, if the rows have
    exactly one of PROMPT_NAMES and exactly one of COMPLETION_NAMES, these are the pair, and a finding says so. Beside
    `instruction`, what is in `input` or `context` is written after it, with a blank line between. `system` and `history`
    (pairs of earlier turns) are used where rows have them. Other columns that hold text are a finding, or refused where they
    would change what is learned; `ignore` says that they are not wanted.
    """

    prompt: ColumnName | None = Field(
        None,
        description="Column with what the user says. Default: prompt; else the only one of "
        f"{', '.join(PROMPT_NAMES[1:])}. Beside instruction, what input or context holds is written after it.",
    )
    completion: ColumnName | None = Field(
        None,
        description="Column with what the model should answer. Default: completion; else the only one of "
        f"{', '.join(COMPLETION_NAMES[1:])}.",
    )
    system: ColumnName | None = Field(
        None,
        description="Column with the system message of the row. Default: system or system_prompt, where a row has it.",
    )
    messages: ColumnName | None = Field(
        None,
        description="Column with a list of {role, content} or {from, value} messages, instead of prompt and completion."
        " Default: messages or conversations, where the rows have such a column and not both prompt and completion.",
    )
    text: ColumnName | None = Field(
        None,
        description=f"Column with plain text, for task {in_words(tasks_reading('text'), 'or')}. Default: text.",
    )
    label: ColumnName | None = Field(
        None,
        description="Column with the class of the text, for task text-classification; several as a list. Default: label, else the only"
        f" one of {', '.join(LABEL_NAMES[1:])}.",
    )
    source: ColumnName | None = Field(
        None,
        description="Column with the text to translate, for task translation. Default: source, or what sourceLanguage is called.",
    )
    target: ColumnName | None = Field(
        None,
        description="Column with its translation; several as a list, of which the first is learned. Default: target, or what targetLanguage"
        " is called.",
    )
    question: ColumnName | None = Field(None, description="Column with the question, for task question-answering. Default: question.")
    context: ColumnName | None = Field(None, description="Column with the text that it is answered from. Default: context.")
    answers: ColumnName | None = Field(
        None,
        description="Column with the answer, a list of them, or SQuAD's {text, answer_start}; the first is learned, any counts as right."
        " Default: answers or answer.",
    )
    hypothesis: ColumnName | None = Field(
        None,
        description="Column with the text as it was recognized, for task transcript-correction. Default: hypothesis.",
    )
    reference: ColumnName | None = Field(None, description="Column with the text as it was said. Default: reference.")
    ignore: list[ColumnName] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Columns that are not wanted: they are not used by default, not refused for what they say, and not a finding.",
    )

    rules = (
        at_most_one("messages", "prompt", what="columns"),
        at_most_one("text", "prompt", what="columns"),
        at_most_one("text", "messages", what="columns"),
    )
