import socket

import jiwer
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.evaluation.metrics.text import text_metrics

REFERENCES = ["The operator starts one Ray job per attempt.", "Checkpoints are verified by reading back.", "It resumes from step 40."]
HYPOTHESES = ["The operator starts a Ray job for each attempt.", "Checkpoints are verified by reading back!", "it resumes"]
ALL = ("exactMatch", "bleu", "chrf", "wer")


def edit_distance(left: list[str], right: list[str]) -> int:
    """Return Levenshtein's distance over words, by the textbook's recurrence."""
    row = list(range(len(right) + 1))
    for i, word in enumerate(left, start=1):
        previous, row = row, [i]
        for j, other in enumerate(right, start=1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (word != other)))
    return row[-1]


@pytest.mark.parametrize(
    ("answer", "equal"),
    [
        pytest.param("Age limit", True, id="the same"),
        pytest.param(" age\n LIMIT ", True, id="other case and space"),
        pytest.param("Age limit.", False, id="a full stop more"),
        pytest.param("Age limits", False, id="a letter more"),
        pytest.param("Agelimit", False, id="no space"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_an_answer_is_an_exact_match_up_to_case_and_white_space(answer: str, equal: bool) -> None:
    assert text_metrics(["Age limit"], [answer], ("exactMatch",))["exactMatch"].value == (100 if equal else 0)


def test_exact_match_is_the_share_of_answers_in_percent_and_says_how_they_were_compared() -> None:
    found = text_metrics(["yes", "no", "no", "STRASSE"], ["Yes", "yes", "no", "Straße"], ("exactMatch",))["exactMatch"]

    assert (found.value, found.unit) == (75, "percent of the answers")
    assert found.signature == "case:fold|space:collapsed|punct:kept"


def test_bleu_and_chrf_are_sacrebleus_at_corpus_level() -> None:
    measured = text_metrics(REFERENCES, HYPOTHESES, ("bleu", "chrf"))

    assert measured["bleu"].value == pytest.approx(sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score)
    assert measured["chrf"].value == pytest.approx(sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score)


def test_signatures_say_how_a_figure_was_computed() -> None:
    measured = text_metrics(REFERENCES, HYPOTHESES, ALL)

    assert "tok:13a" in (measured["bleu"].signature or "")
    assert f"version:{sacrebleu.__version__}" in (measured["bleu"].signature or "")
    assert "nc:6" in (measured["chrf"].signature or "")
    assert measured["wer"].signature == "case:lower|punct:removed|tok:space|level:corpus|jiwer:4.0.0"


def test_wer_counts_word_errors_over_the_corpus_without_case_and_punctuation() -> None:
    # Row 1: "one"->"a", "per"->"for each" is 1 substitution + 1 substitution + 1 insertion; row 3: 3 deletions; 19 words in all.
    measured = text_metrics(REFERENCES, HYPOTHESES, ("wer",))["wer"].value

    words = [([*_words(r)], [*_words(h)]) for r, h in zip(REFERENCES, HYPOTHESES, strict=True)]
    assert measured == sum(edit_distance(r, h) for r, h in words) / sum(len(r) for r, _ in words)
    assert measured == 6 / 19


def _words(text: str) -> list[str]:
    return "".join(character for character in text.lower() if character.isalnum() or character == " ").split()


def test_equal_texts_are_perfect() -> None:
    measured = text_metrics(REFERENCES, REFERENCES, ALL)

    assert [measured[name].value for name in ALL] == pytest.approx([100, 100, 100, 0])


@pytest.mark.parametrize("hypotheses", [["", "", ""], ["   ", "\n", "…"]], ids=["empty", "blank"])
def test_a_model_that_says_nothing_gets_the_worst_figures_and_no_error(hypotheses: list[str]) -> None:
    measured = text_metrics(REFERENCES, hypotheses, ALL)

    assert measured["bleu"].value == 0
    assert measured["chrf"].value == 0
    assert measured["wer"].value == 1


def test_an_empty_reference_among_others_counts_the_words_said_as_errors() -> None:
    assert text_metrics(["", "two words"], ["three words here", "two words"], ("wer",))["wer"].value == 3 / 2


@pytest.mark.parametrize("references", [["?", ""], ["...", "!?"], ["👍", "🎉🎉"]], ids=["empty", "punctuation", "emoji"])
def test_references_without_any_word_have_no_word_error_rate(references: list[str]) -> None:
    found = text_metrics(references, ["a", "b"], ("wer",))["wer"]

    assert (found.value, found.reason) == (None, "no reference has a word")


@pytest.mark.parametrize(
    "answers",
    [["Yes.", "No."], ["Yes", "No"], ["是", "不是"], ["はい", "いいえ"], ["ใช่", "ไม่"], ["네.", "아니요."], ["42", "7"], ["👍"], ["?"]],
    ids=["English", "bare", "Chinese", "Japanese", "Thai", "Korean", "numbers", "emoji", "sign"],
)
def test_short_answers_that_are_right_are_perfect_or_not_measured(answers: list[str]) -> None:
    measured = text_metrics(answers, answers, ALL)

    assert measured["chrf"].value == pytest.approx(100)
    assert measured["bleu"].value in (None, pytest.approx(100))
    assert measured["wer"].value in (None, 0)
    assert all((figure.value is None) == bool(figure.reason) for figure in measured.values())


def test_bleu_of_answers_without_four_tokens_is_left_out_with_the_reason() -> None:
    found = text_metrics(["Yes.", "No."], ["Yes.", "Yes."], ("bleu",))["bleu"]

    assert (found.value, found.reason) == (None, "0 of 2 references have the 4 tokens that BLEU needs")


def test_bleu_of_a_model_that_never_says_four_tokens_is_undefined_unless_nothing_fits() -> None:
    short = text_metrics(REFERENCES, ["The operator", "Checkpoints", "It resumes"], ("bleu",))["bleu"]

    assert (short.value, short.reason) == (None, "no answer has the 4 tokens that BLEU needs")
    assert text_metrics(REFERENCES, ["?", "-", "+"], ("bleu",))["bleu"].value == 0


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
    measured = text_metrics([reference], [hypothesis], ALL)

    assert measured["bleu"].value == pytest.approx(sacrebleu.corpus_bleu([hypothesis], [[reference]], tokenize=tokenization).score)
    assert 0 < (measured["bleu"].value or 0) < 100
    assert f"tok:{tokenization}" in (measured["bleu"].signature or "")
    assert measured["wer"].value is None
    assert measured["wer"].reason == "1 of 1 references are in a script without spaces between words"


def test_bleu_by_characters_is_what_a_hand_computes() -> None:
    # 猫が好きです against 犬が好きです: 5 of 6, 4 of 5, 3 of 4 and 2 of 3 n-grams are right, and the lengths are equal.
    found = text_metrics(["猫が好きです"], ["犬が好きです"], ("bleu",))["bleu"]

    assert found.value == pytest.approx(100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** (1 / 4))


@pytest.mark.parametrize(("references", "hypotheses"), [([], []), (["a"], []), (["a"], ["b", "c"])])
def test_lists_that_do_not_match_are_refused(references: list[str], hypotheses: list[str]) -> None:
    with pytest.raises(ValueError, match=r"row|hypotheses"):
        text_metrics(references, hypotheses, ALL)


def test_only_the_text_metrics_that_were_asked_for_are_computed() -> None:
    assert list(text_metrics(REFERENCES, HYPOTHESES, ("perplexity", "chrf"))) == ["chrf"]


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("a metric reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)

    assert text_metrics(REFERENCES, HYPOTHESES, ALL)


words = st.lists(st.sampled_from(["a", "job", "trains", "rows"]), min_size=1, max_size=6).map(" ".join)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=5))
def test_wer_of_plain_words_is_jiwers_own(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [list(side) for side in zip(*pairs, strict=True)]

    measured = text_metrics(references, hypotheses, ("wer",))["wer"].value

    assert measured == pytest.approx(jiwer.wer(references, hypotheses))
