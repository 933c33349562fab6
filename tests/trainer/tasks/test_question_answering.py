"""Question answering: what the task learns of its rows, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import normalizers
from transformers import AutoConfig

from finetune.api.errors import InputError
from tests.trainer.fixtures.causal import located_folder
from tests.trainer.fixtures.encoders import bert_tokenizer, save_encoder
from tests.trainer.fixtures.stored import examples_of
from tests.trainer.fixtures.tokenizers import byte_tokenizer
from trainer.data.layout import Layout
from trainer.data.records import Record
from trainer.data.sampled import Sampled
from trainer.model.load import load_model
from trainer.preflight.doctor import length_findings
from trainer.tasks.question_answering import AskedAnswers, FoundAnswers, ReadAnswers
from trainer.text.questions import Answer, QuestionExample

CONTEXT = "Ann came on Monday."


def example(*answers: str, line: int = 1) -> QuestionExample:
    return QuestionExample.of(f"data.train[0] line {line}", "Who?", CONTEXT, [Answer(text, CONTEXT.find(text)) for text in answers])


def test_only_rows_without_answer_let_a_model_say_that_there_is_none() -> None:
    answered, open_too = FoundAnswers().knowing([example("Ann")]), FoundAnswers().knowing([example("Ann"), example()])
    assert (answered.known, open_too.known) == ((), ("no answer",))
    requests = [task.request(example("Ann"), bert_tokenizer()) for task in (answered, open_too)]
    assert [request.may_lack for request in requests] == [False, True]
    assert requests[0].references == ("Ann",)
    assert FoundAnswers().request(example(), bert_tokenizer()).references == ("",)


@pytest.mark.parametrize("rows", [[example("Ann")], [example("Ann"), example()]], ids=["all have one", "some have none"])
def test_a_model_in_use_says_that_there_is_no_answer_if_it_was_trained_on_such_rows(tmp_path: Path, rows: list[QuestionExample]) -> None:
    task = FoundAnswers().knowing(rows)
    base = save_encoder(tmp_path / "base")
    load_model(located_folder(base), torch.float32, task.objective.family).save_pretrained(tmp_path / "model")
    assert FoundAnswers().recalling(AutoConfig.from_pretrained(tmp_path / "model")) == task
    assert FoundAnswers().recalling(AutoConfig.from_pretrained(base)) == FoundAnswers()


def test_training_rows_whose_answer_is_not_in_the_text_are_refused() -> None:
    rows = [example("Ann"), example("Carl", line=7), example("Carl", "Ann", line=8), example("Dan", line=9)]
    with pytest.raises(InputError) as caught:
        FoundAnswers().knowing(rows)
    assert str(caught.value).startswith("data.train: 2 rows have answers that are not a part of the text")
    assert "data.train[0] line 7" in str(caught.value)


def test_held_out_rows_whose_answer_is_not_in_the_text_are_reported() -> None:
    task, tokenizer = FoundAnswers(), bert_tokenizer()
    sides = [
        task.sampled(name, rows, tokenizer, 100) for name, rows in (("data.train", [example("Ann")]), ("data.test", [example("Carl")]))
    ]
    assert task.findings(sides, tokenizer) == [
        "data.test: 1 of 1 row has an answer that is not a part of the text (the first: data.train[0] line 1); "
        "only SQuAD's figures count such rows"
    ]


def test_answers_of_which_the_tokenizer_writes_nothing_are_reported_and_refused_where_no_row_has_another() -> None:
    task, tokenizer = FoundAnswers(), bert_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("Ann", "")

    def sampled(name: str, *rows: QuestionExample) -> Sampled[QuestionExample]:
        return task.sampled(name, rows, tokenizer, 100)

    train, test = sampled("data.train", example("Monday"), example("Ann", line=7)), sampled("data.test", example("Ann", line=9))
    assert task.findings([train, test], tokenizer) == [
        "data.train: 1 of 2 rows has an answer that the tokenizer cannot write (the first: data.train[0] line 7); "
        "nothing is learned from such rows",
        "data.test: 1 of 1 row has an answer that the tokenizer cannot write (the first: data.train[0] line 9); "
        "only SQuAD's figures count such rows",
    ]
    nothing = (
        r"^data\.train: none of the examined answers can be learned: 2 of 2 rows have answers that the tokenizer cannot write "
        r"\(the first: data\.train\[0\] line 7\); give"
    )
    with pytest.raises(InputError, match=nothing):
        task.findings([sampled("data.train", example("Ann", line=7), example("Ann", line=8)), test], tokenizer)


def test_held_out_rows_whose_answers_are_not_in_their_texts_are_not_rows_that_are_too_long() -> None:
    side = FoundAnswers().sampled("data.test", [example("Carl"), example("Dan", line=2)], bert_tokenizer(), 20)
    assert length_findings(side, 20) == []


@pytest.mark.parametrize(
    "beside",
    [
        {},
        {"answers": None},
        {"is_impossible": True, "plausible_answers": []},
        {"answers": "Ann", "answer_start": 3},
        {"answers": {"text": ["Dan"], "answer_start": [90]}},
    ],
    ids=["no answers", "an empty cell", "impossible", "an answer at a wrong place", "an answer that the text does not hold"],
)
def test_a_question_is_asked_whatever_its_row_says_of_answers(beside: dict[str, Any]) -> None:
    layout = Layout({"question": "question", "context": "context", "answers": "answers"})
    values = AskedAnswers().answered({"question": "Who?", "context": CONTEXT, **beside}, layout)
    ((found,), _) = examples_of([Record("line 1", values)], task=AskedAnswers())
    assert (found.question, found.context, found.answers) == ("Who?", CONTEXT, ())


def test_a_causal_model_is_asked_with_text_and_question_and_any_answer_counts() -> None:
    task, tokenizer = AskedAnswers(), byte_tokenizer()
    request = task.request(example("Ann", "Monday"), tokenizer)
    assert request.references == ("Ann", "Monday")
    assert request.shown == "Who?"
    assert f"{CONTEXT}\n\nQuestion: Who?" in tokenizer.decode(request.prompt)
    assert task.request(example(), tokenizer).references == ("unanswerable",)


@pytest.mark.parametrize("length", [130, 150, 180])
def test_a_text_that_is_too_long_loses_neither_question_nor_answer(length: int) -> None:
    task, tokenizer = AskedAnswers(), byte_tokenizer()
    context = f"{'Nobody came. ' * 20}{CONTEXT}{' Nobody left.' * 20}"
    long = QuestionExample.of("data.train[0] line 5", "Who?", context, [Answer("Ann", context.find("Ann"))])
    (piece,) = task.encode(long, tokenizer, length)
    text = tokenizer.decode(piece.tokens.input_ids)
    learned = [token for token, mark in zip(piece.tokens.input_ids, piece.tokens.loss_mask, strict=True) if mark]
    assert len(piece.tokens.input_ids) <= length
    assert not piece.tokens.truncated
    assert "Ann" in text[: text.index("Question: Who?")]
    assert tokenizer.decode(learned, skip_special_tokens=True) == "Ann"
    assert piece.example == long
    side = task.sampled("data.train", [example("Ann"), long], tokenizer, length)
    (finding,) = [finding for finding in task.findings([side], tokenizer) if "do not fit" in finding]
    assert finding == (
        "data.train: 1 of 2 rows have texts that do not fit beside question and answer, and keep the part around the answer"
        " (the first: data.train[0] line 5); raise training.maxSequenceLength to keep all of them"
    )


LONG = f"{'Nobody came. ' * 20}{CONTEXT}{' Nobody left.' * 20}"


@pytest.mark.parametrize("task", [AskedAnswers(), ReadAnswers()], ids=["causal", "encoder-decoder"])
def test_a_held_out_text_that_is_too_long_is_cut_as_the_prompt_is_wherever_the_answer_is(task: Any) -> None:
    tokenizer, length = byte_tokenizer(), 150
    (learned, *others), (alone, *_) = (
        [QuestionExample.of("data.test[0] line 5", "Who?", LONG, [Answer(text, LONG.find(text))]) for text in texts]
        for texts in (["Ann", "Nobody"], ["Ann"])
    )
    read = []
    for example in (learned, *others):
        (piece,) = task.on("data.test").encode(example, tokenizer, length)
        tokens = [token for token, mark in zip(piece.tokens.input_ids, piece.tokens.loss_mask, strict=True) if not mark]
        read.append(tokenizer.decode(tokens))
        assert any(piece.tokens.loss_mask), "its answer is measured"
    assert not any("Ann" in text for text in read)
    assert "Ann" in tokenizer.decode(task.on("data.train").encode(alone, tokenizer, length)[0].tokens.input_ids[:-5])


def test_held_out_texts_that_were_shortened_are_reported_as_such() -> None:
    task, tokenizer = AskedAnswers().on("data.test"), byte_tokenizer()
    long = QuestionExample.of("data.test[0] line 5", "Who?", LONG, [Answer("Ann", LONG.find("Ann"))])
    side = task.sampled("data.test", [long], tokenizer, 150)
    (finding,) = [finding for finding in task.findings([side], tokenizer) if "do not fit" in finding]
    assert "lose their beginnings, wherever the answer is" in finding


def test_a_text_is_not_shortened_again_and_again_where_the_answer_alone_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    task, tokenizer = AskedAnswers(), byte_tokenizer()
    long = QuestionExample.of("data.train[0] line 5", "Who?", LONG, [Answer(LONG[100:250], 100)])
    cuts = list[str]()
    whole = AskedAnswers._whole
    monkeypatch.setattr(
        AskedAnswers, "_whole", lambda self, example, *others: cuts.append(example.context) or whole(self, example, *others)
    )
    (piece,) = task.encode(long, tokenizer, 330)
    assert piece.tokens.truncated
    assert cuts == ["", LONG[100:250]]


def test_what_is_written_where_there_is_no_answer_is_reported() -> None:
    task, tokenizer = AskedAnswers(), byte_tokenizer()
    side = task.sampled("data.train", [example("Ann"), example()], tokenizer, 1000)
    assert "data.train: 1 row has no answer; the model learns to write 'unanswerable' there" in task.findings([side], tokenizer)


@pytest.mark.parametrize("length", [60, 80, 120])
def test_an_encoder_reads_the_question_and_the_part_of_a_text_that_holds_the_answer(length: int) -> None:
    task, tokenizer = ReadAnswers(), byte_tokenizer()
    context = f"{'Nobody came. ' * 20}{CONTEXT}{' Nobody left.' * 20}"
    long = QuestionExample.of("data.train[0] line 5", "Who?", context, [Answer("Ann", context.find("Ann"))])
    (piece,) = task.encode(long, tokenizer, length)
    ids, mask = list(piece.tokens.input_ids), list(piece.tokens.loss_mask)
    read = tokenizer.decode([token for token, mark in zip(ids, mask, strict=True) if not mark])
    assert len(ids) - sum(mask) <= length
    assert not piece.tokens.truncated
    assert read.startswith("question: Who? context: ")
    assert "Ann" in read
    request = task.request(example("Ann", "Monday"), tokenizer)
    assert (request.references, request.shown) == (("Ann", "Monday"), "Who?")
