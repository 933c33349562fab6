"""A text beside a column that is called a class, or repeats itself clearly, is classified, whatever else the table holds."""

from pathlib import Path
from typing import Any

import pytest

from finetune.api.tasks import TaskName
from finetune.cli.guess import TO_FILL_IN
from tests.finetune.cli.tables import guessed, repeated


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
        pytest.param(repeated("body,label,title", "a b #,x,c d #"), {"text": "body", "label": "label"}, id="a title beside the text"),
        pytest.param(repeated("title,label", "a b #,x"), {"text": "title", "label": "label"}, id="a title alone"),
        pytest.param(
            repeated("id,post,mood", "#,so glad #,happy", "#,so low #,sad"), {"text": "post", "label": "mood"}, id="no known name"
        ),
        pytest.param(repeated("review,stars", "good #,5", "bad #,1"), {"text": "review", "label": "stars"}, id="numbers of a known name"),
        pytest.param(repeated("post,spam", "buy #,1", "hello #,0"), {"text": "post", "label": "spam"}, id="yes and no as numbers"),
        pytest.param(
            [{"post": f"a b {number}", "spam": number % 2 == 0} for number in range(20)], {"text": "post", "label": "spam"}, id="yes and no"
        ),
        pytest.param(
            repeated("review,score", "good #,5", "so #,3", "bad #,1"), {"text": "review", "label": "score"}, id="numbers of a scale"
        ),
        pytest.param(
            repeated("title,summary,topic", "a #,b is c #,law", "d #,e is f #,news"),
            {"text": "summary", "label": "topic"},
            id="a summary under a title",
        ),
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
            repeated("tweet,airline_sentiment,confidence", "so late #,negative,0.35", "so nice #,positive,1.0"),
            {"text": "tweet", "label": "airline_sentiment"},
            id="airline tweets",
        ),
        pytest.param(
            repeated("id,keyword,location,text,target", "#,fire,here,all burns #,1", "#,rain,there #,all wet #,0"),
            {"text": "text", "label": "target"},
            id="disaster tweets",
        ),
        pytest.param(
            repeated("review_title,review_body,star_rating", "title #,body of it #,5", "no #,bad one #,1"),
            {"text": "review_body", "label": "star_rating"},
            id="product reviews",
        ),
        pytest.param(
            repeated("Class Index,Title,Description", "1,title #,body of it #", "2,no #,bad one #"),
            {"text": "Description", "label": "Class Index"},
            id="AG News",
        ),
        pytest.param(
            repeated("target,ids,date,flag,user,text", "0,1#,Mon #,NO_QUERY,ann #,a bad day #", "4,2#,Tue #,NO_QUERY,ben #,a good day #"),
            {"text": "text", "label": "target"},
            id="Sentiment140",
        ),
        pytest.param(
            repeated("text,emotion,annotator", "so glad #,joy,ann", "so low #,sad,ben"), {"text": "text", "label": "emotion"}, id="emotions"
        ),
        pytest.param(
            repeated("headline,body,starRating", "ann #,good #,5", "ben #,bad #,1"),
            {"text": "body", "label": "starRating"},
            id="words in one",
        ),
        pytest.param(repeated("post,kind,score", "a b #,up,0.#", "c #,down,0.#5"), {"text": "post", "label": "kind"}, id="decimals beside"),
        pytest.param(repeated("post,kind,flag", "a b #,up,x", "c #,down,x"), {"text": "post", "label": "kind"}, id="a constant beside"),
        pytest.param(
            repeated("label_name,text,label", "up,a b #,1", "down,c #,0"), {"text": "text", "label": "label"}, id="the whole name first"
        ),
        pytest.param("review,topic\ngood and short,films\nbad,films\n", {"text": "review", "label": "topic"}, id="few rows"),
    ],
)
def test_other_columns_beside_a_text_and_its_class_are_left_out(tmp_path: Path, content: str, columns: dict[str, str]) -> None:
    guess = guessed(tmp_path, content)
    assert (guess.task, guess.columns) == (TaskName.TEXT_CLASSIFICATION, columns)


@pytest.mark.parametrize(
    ("content", "task", "columns"),
    [
        pytest.param(
            repeated("problem,solution,topic", "add #,so #,sums", "sort #,as #,sets"),
            TaskName.CHAT,
            {"prompt": "problem", "completion": "solution"},
            id="an answer",
        ),
        pytest.param(
            repeated("message,reply,intent", "where #,here #,place", "when #,at #,time"),
            TaskName.CHAT,
            {"prompt": "message", "completion": "reply"},
            id="a reply",
        ),
        pytest.param(
            repeated("source,target,topic", "a b #,c d #,law", "e f #,g h #,news"),
            TaskName.TRANSLATION,
            {"source": "source", "target": "target"},
            id="a translation",
        ),
    ],
)
def test_a_class_beside_a_pair_is_not_what_is_learned(tmp_path: Path, content: str, task: TaskName, columns: dict[str, str]) -> None:
    guess = guessed(tmp_path, content)
    assert (guess.task, guess.columns) == (task, columns)


@pytest.mark.parametrize(("label", "repetition"), [("mood", True), ("target", True), ("label", False), ("star_rating", False)])
def test_a_class_that_is_known_by_repetition_alone_is_not_sure(tmp_path: Path, label: str, repetition: bool) -> None:
    guess = guessed(tmp_path, repeated(f"post,{label}", "so glad #,1", "so low #,0"))
    assert (guess.columns["label"], guess.by_repetition) == (label, repetition)


@pytest.mark.parametrize(("second", "said"), [("0", True), ("4", False)])
def test_one_class_in_the_first_rows_is_said_to_be_too_few(tmp_path: Path, second: str, said: bool) -> None:
    guess = guessed(tmp_path, repeated("target,text", "0,a bad day #", f"{second},another day #"))
    assert guess.columns == {"text": "text", "label": "target"}
    assert ("give at least two, unless the file is only sorted by class" in guess.reason) == said


def test_classes_of_a_pair_of_texts_are_left_to_the_user(tmp_path: Path) -> None:
    guess = guessed(tmp_path, repeated("premise,hypothesis,label", "a b #,c d #,0", "a b #,c d #,1"))
    assert (guess.task, guess.columns) == (TaskName.TEXT_CLASSIFICATION, {"text": TO_FILL_IN, "label": "label"})
