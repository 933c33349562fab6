"""Texts are shown from shortly before the words that augmentation changed."""

from trainer.augmentation.shown import WIDTH, pair_lines


def test_texts_are_shown_before_and_after() -> None:
    assert pair_lines([("buy a\ncar", "purchase a\ncar")]) == ["buy a car → purchase a car"]


def test_a_long_text_is_shown_around_the_first_change() -> None:
    before = "word " * 30 + "buy it " + "word " * 30
    [line] = pair_lines([(before, before.replace("buy", "purchase"))])
    one, other = line.split(" → ")
    assert "buy it" in one
    assert "purchase it" in other
    assert one.startswith("…")
    assert one.endswith("…")
    assert max(len(one), len(other)) <= WIDTH + 2
