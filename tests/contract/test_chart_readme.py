"""The chart's README is what its values and their comments say."""

import pytest

from finetune.system.generated import drifted
from scripts import chart_readme
from tests.repository import REPOSITORY


def test_the_committed_readme_is_that_of_the_values() -> None:
    assert drifted({chart_readme.README: chart_readme.readme(REPOSITORY)}) == []


def test_a_value_without_a_comment_is_refused_by_its_path() -> None:
    text = "# A group.\na:\n  # One.\n  b: 1\n  c: [2]\n"
    with pytest.raises(ValueError, match=r"write a comment above a\.c$"):
        chart_readme.values(text)


def test_a_comment_of_several_lines_is_one_text_and_keys_of_lists_are_no_values() -> None:
    text = "# A\n# group.\na:\n  # One.\n  b:\n    - c: 1\n      d: 2\n  # Two | three.\n  e: {}\n# Three.\nf: null\n"
    found = chart_readme.values(text)
    assert found == [
        ("a", chart_readme.GROUP, "A group."),
        ("a.b", [{"c": 1, "d": 2}], "One."),
        ("a.e", {}, "Two | three."),
        ("f", None, "Three."),
    ]
