"""An answer is right or wrong, whatever its case and white space."""

import pytest

from tests.trainer.evaluation.metrics.builders import measured_by


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
    assert measured_by(["Age limit"], [answer], ("exactMatch",))["exactMatch"].value == (100 if equal else 0)


def test_exact_match_is_the_share_of_answers_in_percent_and_says_how_they_were_compared() -> None:
    found = measured_by(["yes", "no", "no", "STRASSE"], ["Yes", "yes", "no", "Straße"], ("exactMatch",))["exactMatch"]

    assert (found.value, found.unit) == (75, "percent of the answers")
    assert found.signature == "case:fold|space:collapsed|punct:kept"
