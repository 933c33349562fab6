"""What the rows of a file are for follows from the names of their columns, and from what the first of them hold."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune.api.tasks import TaskName
from finetune.cli.guess import TO_FILL_IN
from finetune.cli.rowshapes import holds_nested_questions
from tests.finetune.cli.tables import guessed, repeated

SQUAD = {"data": [{"title": "a", "paragraphs": [{"context": "It sails.", "qas": [{"question": "What?", "answers": []}]}]}]}


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
            repeated("document,summary,topic", "a long # text,text #,law", "the # next text,next #,news"),
            {"prompt": "document", "completion": "summary"},
            id="a summary beside a class",
        ),
        pytest.param(
            repeated("id,dialogue,summary,topic", "#,A: hi # B: no,they met #,law", "#,A: so # B: on,they left #,news"),
            {"prompt": "dialogue", "completion": "summary"},
            id="the summary of a dialogue",
        ),
    ],
)
def test_prompts_with_answers_are_a_chat(tmp_path: Path, content: Any, columns: dict[str, str]) -> None:
    guess = guessed(tmp_path, content)
    assert (guess.task, guess.columns, guess.open) == (TaskName.CHAT, columns, False)


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
    "content",
    [
        pytest.param("id,body,url\n1,some words,http://a\n", id="one"),
        pytest.param(repeated("body,views", "some words #,#0"), id="numbers"),
        pytest.param(repeated("source,body", "web,some words #"), id="a column that is the same in all rows"),
        pytest.param(repeated("body,word_count", "some words #,2", "a b c #,3", "more #,4"), id="a count"),
        pytest.param(repeated("body,paragraphs", "some words #,2", "a b c #,3", "more #,4"), id="numbers of no known name that repeat"),
        pytest.param(repeated("body,subset", "some words #,web", "a b c #,books"), id="a subset"),
        pytest.param(repeated("body,source", "some words #,web", "a b c #,books"), id="a source"),
        pytest.param(repeated("body,data_source", "some words #,web", "a b c #,books"), id="another source"),
        pytest.param(
            [
                {"body": f"some words {number}", "dataset": ("web", "books")[number % 2], "meta": {"page": number}, "id": number}
                for number in range(20)
            ],
            id="a data set",
        ),
        pytest.param([{"body": "some words", "label": None}], id="empty classes"),
    ],
)
def test_a_text_alone_is_continued(tmp_path: Path, content: str) -> None:
    guess = guessed(tmp_path, content)
    assert (guess.task, guess.columns) == (TaskName.LANGUAGE_MODELING, {"text": "body"})


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
            TaskName.TRANSCRIPT_CORRECTION, "heard,reference\na b,c d\n", {"hypothesis": "heard", "reference": "reference"}, id="one left"
        ),
        pytest.param(
            TaskName.TRANSCRIPT_CORRECTION, "a,b\na b,c d\n", {"hypothesis": "a", "reference": "b"}, id="two texts, in their order"
        ),
        pytest.param(TaskName.TRANSLATION, "id,a,b\n1,a b,c d\n", {"source": "a", "target": "b"}, id="translation of no known name"),
        pytest.param(TaskName.TRANSLATION, "a,b,c\na b,c d,e f\n", {"source": TO_FILL_IN, "target": TO_FILL_IN}, id="three texts"),
        pytest.param(
            TaskName.TEXT_CLASSIFICATION, repeated("a,mood,b", "so #,up,1#", "no #,down,2#"), {"text": "a", "label": "mood"}, id="clear"
        ),
        pytest.param(
            TaskName.TEXT_CLASSIFICATION,
            repeated("a,mood,who", "so #,up,ann", "no #,down,ben"),
            {"text": "a", "label": TO_FILL_IN},
            id="two that repeat themselves",
        ),
        pytest.param(
            TaskName.CHAT, repeated("text,label", "so #,1", "no #,0"), {"prompt": "text", "completion": "label"}, id="classes as answers"
        ),
        pytest.param(
            TaskName.TEXT_CLASSIFICATION, [{"text": {"0": "a b"}, "label": {"0": 1}}], {"text": TO_FILL_IN, "label": "label"}, id="objects"
        ),
    ],
)
def test_a_task_that_is_given_takes_the_columns_that_fit_it(tmp_path: Path, task: TaskName, content: str, columns: dict[str, str]) -> None:
    guess = guessed(tmp_path, content, task)
    assert (guess.task, guess.columns) == (task, columns)


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        pytest.param([{"prompt": None, "completion": None}], {"prompt": TO_FILL_IN, "completion": TO_FILL_IN}, id="nothing"),
        pytest.param(
            {"prompt": {"0": "a", "1": "b"}, "completion": {"0": "c", "1": "d"}}, {"prompt": TO_FILL_IN, "completion": TO_FILL_IN},
            id="columns as pandas writes them",
        ),
        pytest.param(repeated("prompt,completion", "how much is #,0.5"), {"prompt": "prompt", "completion": TO_FILL_IN}, id="decimals"),
        pytest.param(repeated("text,target", "some words #,1#", "a b #,2#"), {"prompt": "text", "completion": TO_FILL_IN}, id="numbers"),
        pytest.param(repeated("message,author", "a b #,up", "c d #,down"), {"prompt": "message", "completion": TO_FILL_IN}, id="repeated"),
        pytest.param(
            [{"question": "a b", "passage": "c d", "answer": True}], {"prompt": "question", "completion": TO_FILL_IN}, id="true or false"
        ),
        pytest.param([{"prompt": "a b", "completion": 5}], {"prompt": "prompt", "completion": TO_FILL_IN}, id="typed numbers"),
    ],
)  # fmt: skip
def test_a_column_that_cannot_be_an_answer_is_left_open_whatever_its_name(tmp_path: Path, content: Any, columns: dict[str, str]) -> None:
    guess = guessed(tmp_path, content)
    assert (guess.task, guess.columns) == (TaskName.CHAT, columns)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(
            repeated("text,answer", "is it # so,yes", "is it not # so,no"),
            "column answer repeats itself (2 values in its first rows), so it may be a class",
            id="answers",
        ),
        pytest.param(
            repeated("message,reply", "a b #,thank you", "c d #,you are welcome"),
            "column reply repeats itself (2 values in its first rows), so it may be a class",
            id="replies",
        ),
        pytest.param(
            repeated("post,comment,answer", "a b #,c d #,yes", "e f #,g h #,no"),
            "column answer repeats itself (2 values in its first rows), so it may be a class",
            id="two texts",
        ),
        pytest.param(
            [{"question": "a b", "passage": "c d", "answer": True}],
            "column answer holds numbers, true or false: write them as texts, if they are the answers",
            id="true or false",
        ),
    ],
)
def test_why_a_column_that_is_called_an_answer_is_none_is_said(tmp_path: Path, content: Any, why: str) -> None:
    guess = guessed(tmp_path, content)
    assert (guess.task, guess.columns["completion"]) == (TaskName.CHAT, TO_FILL_IN)
    assert guess.reason.endswith(f"; {why}")


@pytest.mark.parametrize("name", ["answer", "reply"])
def test_answers_that_repeat_themselves_are_taken_for_the_task_that_is_given(tmp_path: Path, name: str) -> None:
    content = repeated(f"text,{name}", "is it # so,yes", "is it not # so,no")
    assert guessed(tmp_path, content, TaskName.CHAT).columns == {"prompt": "text", "completion": name}
    assert guessed(tmp_path, content, TaskName.TEXT_CLASSIFICATION).columns == {"text": "text", "label": name}


def test_whole_numbers_are_answers(tmp_path: Path) -> None:
    guess = guessed(tmp_path, repeated("question,answer", "how much is #,#"))
    assert (guess.task, guess.columns) == (TaskName.CHAT, {"prompt": "question", "completion": "answer"})


def test_what_is_read_after_an_instruction_is_said(tmp_path: Path) -> None:
    assert "column input is read after the prompt" in guessed(tmp_path, "instruction,input,output\ndo it,to this,done so\n").reason
    assert "read after" not in guessed(tmp_path, "instruction,input,output\ndo it,,done so\n").reason


def test_conversations_inside_objects_are_to_be_moved(tmp_path: Path) -> None:
    guess = guessed(tmp_path, [{"data": {"messages": [{"role": "user", "content": "a"}]}}])
    assert guess.open
    assert guess.reason == "column data holds conversations inside an object; write messages at the top of each row"


class CountedRows(list[dict[str, Any]]):
    """Rows that count how often they are gone through."""

    passes = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.passes += 1
        return super().__iter__()


def test_rows_are_not_gone_through_for_each_nested_question() -> None:
    article = {"paragraphs": [{"context": "It sails.", "qas": [{"question": "What?", "answers": []}] * 50}]}
    rows = CountedRows([article] * 20)
    assert holds_nested_questions(rows)
    assert rows.passes <= 2
