"""What is asked is what training would ask, and needs no answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.api.columns import Columns
from finetune.api.errors import InputError
from finetune.api.tasks import ModelFamily, TaskName
from finetune.api.using import ChosenModel, Predict
from tests.trainer.fixtures.tokenizers import byte_tokenizer
from trainer.chat.rows import with_answer
from trainer.tasks.base import Generate
from trainer.tasks.chat import CHAT
from trainer.tasks.language_modeling import LANGUAGE_MODELING
from trainer.tasks.registry import task_of
from trainer.using.asking import Asked, ask, ask_rows, ask_text, check_paths, languages_for

TURNS = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}, {"role": "user", "content": "And then?"}]


SPEAKING = [*(("role", name) for name in ("assistant", "Assistant", "gpt", "model", "bot", "chatgpt", "chatbot")), ("from", "GPT")]


@pytest.fixture
def prepared() -> Any:
    tokenizer = byte_tokenizer()
    CHAT.prepare(tokenizer, None)
    return tokenizer


def prompt_of(asked: Asked) -> list[int]:
    assert isinstance(asked.request, Generate)
    return list(asked.request.prompt)


def rows(tmp_path: Path, tokenizer: Any, content: str, *columns: Columns, name: str = "rows.jsonl") -> list[Asked]:
    (tmp_path / name).write_text(content, encoding="utf-8")
    return list(ask_rows(CHAT, tokenizer, tmp_path / name, columns or [Columns()]))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ('{"prompt": "Where?"}', "rows.jsonl"),
        ('{"prompt": "Where?", "completion": null}', "rows.jsonl"),
        ('{"prompt": "Where?", "completion": "There."}', "rows.jsonl"),
        ('{"question": "Where?", "id": 7}', "rows.jsonl"),
        ('{"question": "Where?", "answer": "There."}', "rows.jsonl"),
        ('{"whatever": "Where?"}', "rows.jsonl"),
        ('{"messages": [{"role": "user", "content": "Where?"}]}', "rows.jsonl"),
        ('{"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "There."}]}', "rows.jsonl"),
        ('{"conversations": [{"from": "human", "value": "Where?"}]}', "rows.jsonl"),
        ("question\nWhere?\n", "rows.csv"),
        ("Where?\n", "rows.txt"),
    ],
)
def test_a_row_asks_the_same_however_it_is_written_with_an_answer_or_without(
    tmp_path: Path, prepared: Any, content: str, name: str
) -> None:
    expected = prompt_of(ask_text(CHAT, prepared, "Where?", {}))

    assert [prompt_of(asked) for asked in rows(tmp_path, prepared, content, name=name)] == [expected]
    assert "Where?" in prepared.decode(expected)


@pytest.mark.parametrize(("key", "speaker"), SPEAKING)
def test_the_answer_in_a_row_is_not_shown_to_the_model_whatever_its_speaker_is_called(
    tmp_path: Path, prepared: Any, key: str, speaker: str
) -> None:
    words = {"role": "content", "from": "value"}[key]
    turns = [{key: "user", words: "Where?"}, {key: speaker, words: "There."}]

    [asked] = rows(tmp_path, prepared, json.dumps({"messages": turns}))

    assert prompt_of(asked) == prompt_of(ask_text(CHAT, prepared, "Where?", {}))
    assert asked.request is not None
    assert asked.request.references == ("There.",)


def test_a_call_of_a_tool_is_an_answer_too() -> None:
    turns = [{"from": "human", "value": "Where?"}, {"from": "function_call", "value": '{"name": "look", "arguments": {}}'}]

    assert with_answer(turns, "answer") == turns


def test_what_is_shown_is_the_question_before_the_answer_that_is_asked_for(prepared: Any) -> None:
    later = [{"role": "user", "content": "Thanks."}, {"role": "assistant", "content": "Welcome.", "weight": 0}]

    asked = ask(CHAT, prepared, {"messages": [*TURNS[:2], *later]})

    assert asked.request is not None
    assert (asked.request.shown, asked.request.references) == ("Where?", ("Here.",))


def test_the_columns_of_the_training_data_are_read_where_the_file_has_them(tmp_path: Path, prepared: Any) -> None:
    trained = Columns(prompt="message", completion="intent")
    expected = prompt_of(ask_text(CHAT, prepared, "Where?", {}))

    for content in ('{"message": "Where?", "note": "x"}', '{"prompt": "Where?", "note": "x"}'):
        assert [prompt_of(asked) for asked in rows(tmp_path, prepared, content, trained, Columns())] == [expected]


def test_a_conversation_is_asked_about_whole(prepared: Any) -> None:
    asked = ask(CHAT, prepared, {"messages": TURNS})

    text = prepared.decode(prompt_of(asked))
    assert [turn["content"] in text for turn in TURNS] == [True, True, True]
    assert asked.request is not None
    assert asked.request.shown == "And then?"


def test_other_columns_stand_beside_a_prompt(prepared: Any) -> None:
    assert "Be brief." in prepared.decode(prompt_of(ask_text(CHAT, prepared, "Where?", {"system": "Be brief."})))


def test_plain_text_is_asked_to_go_on(prepared: Any) -> None:
    asked = ask_text(LANGUAGE_MODELING, prepared, "The river rises", {})

    assert prepared.decode(prompt_of(asked)) == "The river rises"


def test_a_row_without_a_prompt_is_left_out_with_the_reason(tmp_path: Path, prepared: Any) -> None:
    found = rows(tmp_path, prepared, '{"prompt": "Where?"}\n{"prompt": " "}\n')

    assert [asked.left_out for asked in found] == ["", "'prompt' is empty"]
    assert found[1].request is None


@pytest.mark.parametrize("reference", ["", None, [], [""], ["Hello."]], ids=["empty", "null", "empty list", "list of empty", "given"])
def test_a_row_is_asked_about_whatever_stands_for_its_answer(tmp_path: Path, prepared: Any, reference: Any) -> None:
    task, path = task_of(TaskName.TRANSCRIPT_CORRECTION, ModelFamily.CAUSAL), tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"hypothesis": "helo", "reference": reference}))

    [asked] = ask_rows(task, prepared, path, [Columns()])

    assert prompt_of(asked) == prompt_of(ask_text(task, prepared, "helo", {}))


@pytest.mark.parametrize("hypothesis", ["", " \n"], ids=["empty", "blank"])
@pytest.mark.parametrize("family", [ModelFamily.CAUSAL, ModelFamily.SEQ2SEQ])
def test_a_transcript_without_words_is_left_out_as_a_prompt_and_as_a_row(
    tmp_path: Path, prepared: Any, hypothesis: str, family: ModelFamily
) -> None:
    task, path = task_of(TaskName.TRANSCRIPT_CORRECTION, family), tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"hypothesis": text}) for text in ("helo", hypothesis)))

    assert ask_text(task, prepared, hypothesis, {}) == Asked(None, "the recognizer wrote nothing")
    heard, nothing = ask_rows(task, prepared, path, [Columns()])
    assert heard.request is not None
    assert nothing == Asked(None, "the recognizer wrote nothing")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"first": "a", "second": "b"}', r"^--input: .*rows.jsonl has no 'prompt' \(it has: first, second\); .* --column prompt=NAME"),
        ("", r"^--input: .*rows.jsonl has no rows"),
        ('{"prompt": 7}', r"^--input.columns.prompt: .* line 1: 'prompt' is a number, not a text"),
        ('{"prompt": "Where?"', r"^--input: .*rows.jsonl line 1"),
    ],
)
def test_a_file_that_cannot_be_asked_about_is_refused(tmp_path: Path, prepared: Any, content: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        rows(tmp_path, prepared, content)


def test_an_output_that_exists_and_an_input_that_does_not_are_refused(tmp_path: Path) -> None:
    (tmp_path / "there").write_text(json.dumps({"prompt": "Where?"}))
    model = ChosenModel(name="any")

    with pytest.raises(InputError, match=r"^--output: .*there exists"):
        check_paths(Predict(model=model, input=tmp_path / "there", output=tmp_path / "there"))
    with pytest.raises(InputError, match=r"^--output: there is no folder"):
        check_paths(Predict(model=model, input=tmp_path / "there", output=tmp_path / "none" / "out"))
    with pytest.raises(InputError, match=r"^--input: there is no file"):
        check_paths(Predict(model=model, input=tmp_path / "none"))


def test_a_translation_is_asked_for_in_the_languages_of_the_training_data(prepared: Any) -> None:
    translation = task_of(TaskName.TRANSLATION, ModelFamily.CAUSAL)
    trained = [("de", "en")]

    for wanted, words in ((None, "German to English"), (("en", "fr"), "English to French")):
        languages = languages_for(translation, wanted, trained)
        assert words in prepared.decode(prompt_of(ask_text(translation, prepared, "Guten Tag", {}, languages)))


@pytest.mark.parametrize(
    "written",
    [{}, {"de": ""}, {"de": " "}, {"de": None}, {"de": []}, {"de": [""]}, {"de": [" ", None]}],
    ids=["missing", "empty", "blank", "null", "empty list", "list of empty", "list of blank and null"],
)
@pytest.mark.parametrize("family", [ModelFamily.CAUSAL, ModelFamily.SEQ2SEQ])
def test_texts_by_language_need_none_in_the_one_that_is_written(
    tmp_path: Path, prepared: Any, written: dict[str, Any], family: ModelFamily
) -> None:
    task, texts = task_of(TaskName.TRANSLATION, family), {"en": "A boat."}
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"translation": row}) for row in (texts | {"de": "Ein Boot."}, texts | written)))

    with_answer, without = ask_rows(task, prepared, path, [Columns()], ("en", "de"))

    assert (with_answer.left_out, without.left_out) == ("", "")
    assert prompt_of(without) == prompt_of(with_answer)


def test_languages_that_are_not_clear_or_have_no_meaning_are_refused() -> None:
    translation = task_of(TaskName.TRANSLATION, ModelFamily.CAUSAL)

    with pytest.raises(InputError, match=r"^--from: .* several pairs of languages; give one of --from de --to en, --from en --to de$"):
        languages_for(translation, None, [("de", "en"), ("en", "de")])
    with pytest.raises(InputError, match=r"^--from: has no meaning for chat"):
        languages_for(CHAT, ("de", "en"), [])
