"""A base model with a new head or random weights guesses, whatever else its report has."""

from typing import Any

import pytest

from trainer.reporting.guessing import guesses


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"model": {"headIsNew": True}}, True),
        ({"model": {"headIsNew": False, "initialization": "random"}}, True),
        ({"model": {"headIsNew": False, "initialization": "pretrained"}}, False),
        ({"model": {"headIsNew": False}, "domainAdaptation": {"corpus": {"baseIsGuessing": True}}}, True),
        ({"model": {"headIsNew": False}, "domainAdaptation": {"corpus": {"baseIsGuessing": False}}}, False),
        ({"model": None, "domainAdaptation": None}, False),
        ({}, False),
    ],
    ids=str,
)
def test_a_base_that_is_new_guesses(report: dict[str, Any], *, expected: bool) -> None:
    assert guesses(report) is expected
