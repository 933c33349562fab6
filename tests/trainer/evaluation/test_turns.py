"""A sample of rows has its share of every source and group."""

from dataclasses import dataclass

import pytest

from trainer.evaluation.turns import in_turns


@dataclass(frozen=True)
class Row:
    number: int
    source: str = "data.test[0]"
    group: str = ""


def rows(kinds: str) -> list[Row]:
    """Return a row for each letter, its source, and its case, its group."""
    return [Row(number, kind.lower(), "upper" if kind.isupper() else "lower") for number, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("kinds", "count", "chosen"),
    [
        pytest.param("aaaaaa", 3, [0, 1, 2], id="one source: the first ones"),
        pytest.param("aaaabbbb", 4, [0, 1, 4, 5], id="two sources, one after the other"),
        pytest.param("aaaaB", 3, [0, 1, 4], id="a source with a single row"),
        pytest.param("aAaAaA", 3, [0, 1, 2], id="groups of one source"),
        pytest.param("aaabbbccc", 2, [0, 3], id="fewer than sources"),
        pytest.param("ab", 5, [0, 1], id="more than there are"),
    ],
)
def test_every_source_and_group_has_its_turn(kinds: str, count: int, chosen: list[int]) -> None:
    assert [row.number for row in in_turns(rows(kinds), count)] == chosen
