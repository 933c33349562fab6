"""What is asked of a causal model for a pair of texts is what a chat with it would hold."""

import pytest

from finetune.api.tasks import ModelFamily, TaskName
from tests.trainer.fixtures.stored import examples_of
from tests.trainer.fixtures.tokenizers import CHATML, byte_tokenizer
from tests.trainer.tasks.samples import SAMPLES
from trainer.data.records import Record
from trainer.tasks.base import Generate, Task
from trainer.tasks.registry import task_of

ASKED = [task_of(name, ModelFamily.CAUSAL) for name in (TaskName.TRANSLATION, TaskName.TRANSCRIPT_CORRECTION)]


@pytest.fixture(params=ASKED, ids=[task.facts.name for task in ASKED])
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


def test_a_row_is_the_conversation_that_a_chat_row_of_the_same_words_would_be(task: Task) -> None:
    tokenizer, chat = byte_tokenizer(CHATML), task_of(TaskName.CHAT, ModelFamily.CAUSAL)
    ((example, *_), _) = examples_of([Record("line 1", SAMPLES[task.facts.name].rows[0].values)], task=task)
    asked = {"prompt": task.question(example), "completion": example.answer}
    ((conversation,), _) = examples_of([Record("line 1", asked)], task=chat)

    (piece,), (same,) = task.encode(example, tokenizer, 1000), chat.encode(conversation, tokenizer, 1000)

    assert list(piece.tokens.input_ids) == list(same.tokens.input_ids)
    assert list(piece.tokens.loss_mask) == list(same.tokens.loss_mask)
    assert example.given in asked["prompt"]


def test_any_of_the_references_counts_and_none_is_in_the_prompt() -> None:
    task, tokenizer = ASKED[0], byte_tokenizer(CHATML)
    ((example,), _) = examples_of([Record("line 1", {"source": "A boat.", "target": ["Ein Boot.", " Ein Kahn.\n"]})], task=task)
    request = task.request(example, tokenizer)
    assert isinstance(request, Generate)
    assert request.references == ("Ein Boot.", "Ein Kahn.")
    assert not any(word in tokenizer.decode(request.prompt) for word in ("Boot", "Kahn"))
