"""What holds of every metric of generated text."""

import socket

import pytest
import sacrebleu

from finetune.api.metrics import METRICS, MetricName
from tests.trainer.evaluation.metrics.builders import ALL, HYPOTHESES, REFERENCES, measured_by
from trainer.evaluation.metrics.base import Figure


def test_equal_texts_are_perfect() -> None:
    measured = measured_by(REFERENCES, REFERENCES, ALL)

    assert [measured[name].value for name in ALL] == pytest.approx(
        [0 if METRICS[name].lower_is_better else METRICS[name].scale.highest for name in ALL]
    )


@pytest.mark.parametrize("hypotheses", [["", "", ""], ["   ", "\n", "…"]], ids=["empty", "blank"])
def test_a_model_that_says_nothing_gets_the_worst_figures_and_no_error(hypotheses: list[str]) -> None:
    measured = measured_by(REFERENCES, hypotheses, ALL)

    assert measured["bleu"].value == 0
    assert measured["chrf"].value == 0
    assert measured["wer"].value == 1


@pytest.mark.parametrize(
    "answers",
    [["Yes.", "No."], ["Yes", "No"], ["是", "不是"], ["はい", "いいえ"], ["ใช่", "ไม่"], ["네.", "아니요."], ["42", "7"], ["👍"], ["?"]],
    ids=["English", "bare", "Chinese", "Japanese", "Thai", "Korean", "numbers", "emoji", "sign"],
)
def test_short_answers_that_are_right_are_perfect_or_not_measured(answers: list[str]) -> None:
    measured = measured_by(answers, answers, ALL)

    assert measured["chrf"].value == pytest.approx(100)
    assert measured["bleu"].value in (None, pytest.approx(100))
    assert measured["wer"].value in (None, 0)
    assert all((figure.value is None) == bool(figure.reason) for figure in measured.values())


@pytest.mark.parametrize(
    ("reference", "hypothesis", "tokenization"),
    [
        pytest.param("我们用这个模型回答用户的问题。", "我们用这个模型回答问题。", "zh", id="Chinese"),
        pytest.param("我们使用 Kubernetes 的 Job 来训练模型。", "我们使用 Ray 的 Job 来训练模型。", "zh", id="Chinese with terms"),
        pytest.param("この猫はとても小さいです。", "この犬はとても小さいです。", "char", id="Japanese"),
        pytest.param("โมเดลนี้ตอบคำถามของผู้ใช้", "โมเดลนี้ตอบคำถามผู้ใช้", "char", id="Thai"),
        pytest.param("គំរូនេះឆ្លើយសំណួររបស់អ្នកប្រើ", "គំរូនេះឆ្លើយសំណួរ", "char", id="Khmer"),
        pytest.param("ຮູບແບບນີ້ຕອບຄຳຖາມ", "ຮູບແບບນີ້ຕອບ", "char", id="Lao"),
        pytest.param("ဤမော်ဒယ်သည် မေးခွန်းများကို ဖြေသည်", "ဤမော်ဒယ်သည် ဖြေသည်", "char", id="Burmese"),
    ],
)
def test_scripts_without_spaces_are_measured_by_their_characters(reference: str, hypothesis: str, tokenization: str) -> None:
    measured = measured_by([reference], [hypothesis], ALL)

    assert measured["bleu"].value == pytest.approx(sacrebleu.corpus_bleu([hypothesis], [[reference]], tokenize=tokenization).score)
    assert 0 < (measured["bleu"].value or 0) < 100
    assert f"tok:{tokenization}" in (measured["bleu"].signature or "")
    assert measured["wer"].value is None
    assert measured["wer"].reason == "1 of 1 references are in a script without spaces between words"


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("a metric reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)

    assert measured_by(REFERENCES, HYPOTHESES, ALL)


def test_signatures_say_how_a_figure_was_computed() -> None:
    measured = measured_by(REFERENCES, HYPOTHESES, ALL)

    assert "tok:13a" in (measured["bleu"].signature or "")
    assert f"version:{sacrebleu.__version__}" in (measured["bleu"].signature or "")
    assert "nc:6" in (measured["chrf"].signature or "")
    assert measured["wer"].signature == "case:lower|punct:removed|tok:space|level:corpus|jiwer:4.0.0"


@pytest.mark.parametrize("name", ALL)
def test_without_rows_there_is_nothing_to_measure(name: str) -> None:
    assert measured_by([], [], [name]) == {name: Figure(None, unit=METRICS[MetricName(name)].unit, reason="no row asks for an answer")}


@pytest.mark.parametrize("name", ALL)
def test_only_what_compares_texts_needs_a_reference_of_each_row(name: MetricName) -> None:
    answers = ["one two three four five", "six seven eight nine ten"]
    found = measured_by([answers[0], ()], answers, (name,))[name]
    if name in (MetricName.DISTINCT_1, MetricName.DISTINCT_2, MetricName.REPETITION, MetricName.UNFINISHED):
        assert found.value is not None
    else:
        assert (found.value, found.reason) == (None, "1 of 2 rows have no reference")
