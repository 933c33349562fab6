"""What the rows of a file are for follows from the names of their columns, and from what the first of them hold."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.api.tasks import TaskName
from finetune.cli.datafile import look_at
from finetune.cli.guess import TO_FILL_IN, Guess, guess_from

SQUAD = {"data": [{"title": "a", "paragraphs": [{"context": "It sails.", "qas": [{"question": "What?", "answers": []}]}]}]}


def guessed(folder: Path, content: str | list[dict[str, Any]] | dict[str, Any], task: TaskName | None = None) -> Guess:
    """Return what is guessed of a table, or of rows as JSON."""
    path = folder / ("a.csv" if isinstance(content, str) else "a.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return guess_from(look_at(path), task)


def repeated(header: str, *lines: str, times: int = 20) -> str:
    """Return a table whose lines are repeated with the number of the repetition in place of #."""
    return "\n".join([header, *(line.replace("#", str(number)) for number in range(times) for line in lines)])


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        pytest.param("id;question;answer\n1;a b;c\n", {"prompt": "question", "completion": "answer"}, id="semicolons"),
        pytest.param("first\tsecond\nhouse\tHaus\n", {"prompt": "first", "completion": "second"}, id="two columns of words"),
        pytest.param("answer,what\nyes it is,is it\n", {"prompt": "what", "completion": "answer"}, id="answer first"),
        pytest.param([{"id": 1, "messages": [{"role": "user", "content": "a"}]}], {"messages": "messages"}, id="messages"),
        pytest.param([{"talk": [{"from": "human", "value": "a"}]}], {"messages": "talk"}, id="from and value"),
        pytest.param(
            {"version": "1", "data": [{"instruction": "a", "input": "b", "output": "c"}]},
            {"prompt": "instruction", "completion": "output"},
            id="a list in a wrapper",
        ),
        pytest.param(
            repeated("instruction,category,response", "ask #,billing,pay #"),
            {"prompt": "instruction", "completion": "response"},
            id="an answer beside a class",
        ),
        pytest.param(
            repeated("prompt,completion", "is # even,yes", "is # odd,no"),
            {"prompt": "prompt", "completion": "completion"},
            id="few answers",
        ),
        pytest.param(
            repeated("text,label", "what is #,it is number #", times=30),
            {"prompt": "text", "completion": "label"},
            id="a label for each row",
        ),
        pytest.param(
            [{"question": "a b", "passage": "c d", "answer": True}],
            {"prompt": "question", "completion": "answer"},
            id="an answer that is no text",
        ),
    ],
)
def test_prompts_with_answers_are_a_chat(tmp_path: Path, content: Any, columns: dict[str, str]) -> None:
    guess = guessed(tmp_path, content)
    assert (guess.task, guess.columns, guess.open) == (TaskName.CHAT, columns, False)


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        pytest.param("text,category\nhi,greeting\nbye now,farewell\n", {"text": "text", "label": "category"}, id="two rows"),
        pytest.param("text,label\nhi there,1\n", {"text": "text", "label": "label"}, id="a number"),
        pytest.param([{"text": "a b", "labels": ["x", "y"]}], {"text": "text", "label": "labels"}, id="lists"),
        pytest.param('text,labels\na b,"[""x"", ""y""]"\n', {"text": "text", "label": "labels"}, id="lists in a table"),
        pytest.param(
            repeated("query,intent", "ask #,one", "say #,two"), {"text": "query", "label": "intent"}, id="another name of the text"
        ),
        pytest.param(repeated("body,label,title", "a b #,x,c d #"), {"text": "title", "label": "label"}, id="a title beside the text"),
        pytest.param(
            repeated("id,post,mood", "#,so glad #,happy", "#,so low #,sad"), {"text": "post", "label": "mood"}, id="no known name"
        ),
        pytest.param(repeated("review,stars", "good #,5", "bad #,1"), {"text": "review", "label": "stars"}, id="numbers of no known name"),
        pytest.param(
            repeated("source,target", "good #,up", "bad #,down"), {"text": "source", "label": "target"}, id="a target of two words"
        ),
    ],
)
def test_texts_beside_few_values_are_classified(tmp_path: Path, content: Any, columns: dict[str, str]) -> None:
    guess = guessed(tmp_path, content)
    assert (guess.task, guess.columns, guess.open) == (TaskName.TEXT_CLASSIFICATION, columns, False)


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        pytest.param(
            "question,context,answer\na?,b c,b\n", {"question": "question", "context": "context", "answers": "answer"}, id="table"
        ),
        pytest.param(
            [{"question": "a?", "passage": "b c", "answers": {"text": ["b"], "answer_start": [0]}}],
            {"question": "question", "context": "passage", "answers": "answers"},
            id="answers with their places",
        ),
        pytest.param(SQUAD, {}, id="SQuAD"),
        pytest.param(SQUAD["data"][0]["paragraphs"], {}, id="paragraphs of SQuAD"),
    ],
)
def test_questions_about_texts_are_answered_from_them(tmp_path: Path, content: Any, columns: dict[str, str]) -> None:
    guess = guessed(tmp_path, content)
    assert (guess.task, guess.columns) == (TaskName.QUESTION_ANSWERING, columns)


@pytest.mark.parametrize(
    ("content", "columns", "languages"),
    [
        pytest.param([{"translation": {"en": "a", "de": "b"}}], {}, ("en", "de"), id="texts by language"),
        pytest.param([{"translation": {"fr": "c", "en": "a", "de": "b"}}, {"translation": {"de": "b", "en": "a"}}], {}, ("en", "de"),
                     id="languages that all rows have"),
        pytest.param("id,english,german\n1,house,Haus\n", {"source": "english", "target": "german"}, ("en", "de"), id="names of languages"),
        pytest.param("en,pt-BR\nhouse,casa\n", {"source": "en", "target": "pt-BR"}, ("en", "pt-BR"), id="codes"),
        pytest.param("src,tgt\nhouse,Haus\n", {"source": "src", "target": "tgt"}, None, id="languages that are not known"),
    ],
)  # fmt: skip
def test_texts_in_two_languages_are_translated(
    tmp_path: Path, content: Any, columns: dict[str, str], languages: tuple[str, str] | None
) -> None:
    guess = guessed(tmp_path, content)
    assert (guess.task, guess.columns, guess.languages) == (TaskName.TRANSLATION, columns, languages)
    assert ("write sourceLanguage and targetLanguage" in guess.reason) == (languages is None)


def test_what_was_recognized_is_corrected(tmp_path: Path) -> None:
    guess = guessed(tmp_path, "hypothesis,reference\nto late,Too late.\n")
    assert (guess.task, guess.columns) == (TaskName.TRANSCRIPT_CORRECTION, {"hypothesis": "hypothesis", "reference": "reference"})


@pytest.mark.parametrize(
    "content", ["id,body,url\n1,some words,http://a\n", repeated("body,views", "some words #,#0")], ids=["one", "numbers"]
)
def test_a_text_alone_is_continued(tmp_path: Path, content: str) -> None:
    guess = guessed(tmp_path, content)
    assert (guess.task, guess.columns) == (TaskName.LANGUAGE_MODELING, {"text": "body"})


def test_classes_of_a_pair_of_texts_are_left_to_the_user(tmp_path: Path) -> None:
    guess = guessed(tmp_path, repeated("premise,hypothesis,label", "a b #,c d #,0", "a b #,c d #,1"))
    assert (guess.task, guess.columns) == (TaskName.TEXT_CLASSIFICATION, {"text": TO_FILL_IN, "label": "label"})


@pytest.mark.parametrize(
    ("task", "content", "columns"),
    [
        pytest.param(TaskName.CHAT, "text,label\na b,c\n", {"prompt": "text", "completion": "label"}, id="chat"),
        pytest.param(TaskName.TEXT_GENERATION, "source,target\na b,c\n", {"prompt": "source", "completion": "target"}, id="generation"),
        pytest.param(TaskName.LANGUAGE_MODELING, "text,label\na b,c\n", {"text": "text"}, id="language modeling"),
        pytest.param(TaskName.TRANSLATION, "prompt,completion\na b,c\n", {"source": "prompt", "target": "completion"}, id="translation"),
        pytest.param(TaskName.TEXT_CLASSIFICATION, "prompt,completion\na b,c\n", {"text": "prompt", "label": "completion"}, id="classes"),
        pytest.param(
            TaskName.QUESTION_ANSWERING,
            "instruction,input,output\na b,c,c\n",
            {"question": "instruction", "context": "input", "answers": "output"},
            id="questions",
        ),
        pytest.param(
            TaskName.TRANSCRIPT_CORRECTION, "heard,reference\na b,c d\n", {"hypothesis": TO_FILL_IN, "reference": "reference"}, id="open"
        ),
    ],
)
def test_a_task_that_is_given_takes_the_columns_that_fit_it(tmp_path: Path, task: TaskName, content: str, columns: dict[str, str]) -> None:
    guess = guessed(tmp_path, content, task)
    assert (guess.task, guess.columns) == (task, columns)
