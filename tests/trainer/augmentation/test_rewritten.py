"""Which variants that a model wrote are used, and the table that keeps them."""

from pathlib import Path

import pytest

from finetune.api.augmentation import Augmentation
from tests.trainer.fixtures.examples import chat
from trainer.augmentation.augmenter import Augmenter
from trainer.augmentation.protection import Protection
from trainer.augmentation.rewritten import Variants, add, chosen, digest_of, head_of, lines_of, read, replace_unless_whole, to_report
from trainer.tasks.chat import CHAT

PROTECTION = Protection(["Gold Card"])
TEXT = "Pay 20 pounds with my gold card at https://example.org/x for {name}"
GOOD = "With my Gold Card I pay 20 pounds for {name} at https://example.org/x."
OTHER = "20 pounds for {name}: gold card, https://example.org/x"


@pytest.mark.parametrize(
    ("variant", "cut", "reason"),
    [
        pytest.param(GOOD, False, None, id="all is there"),
        pytest.param(f'"{GOOD}"', False, None, id="in quotation marks"),
        pytest.param(" \n", False, "empty", id="empty"),
        pytest.param('""', False, "empty", id="empty quotation marks"),
        pytest.param(TEXT.replace(" ", "  "), False, "equal", id="equal"),
        pytest.param(GOOD, True, "cut", id="cut"),
        pytest.param(OTHER, False, "repeated", id="repeated"),
        pytest.param(GOOD.replace("20", "30"), False, "lost", id="another number"),
        pytest.param(GOOD.replace("/x", "/y"), False, "lost", id="another address"),
        pytest.param(GOOD.replace("{name}", "name"), False, "lost", id="no placeholder"),
        pytest.param(GOOD.replace("Gold Card", "card"), False, "lost", id="no protected phrase"),
        pytest.param(GOOD.replace("I pay", "I don't pay"), False, "negated", id="the opposite"),
        pytest.param(f"{GOOD} Pay by 2024-01-01.", False, "added", id="one more number"),
        pytest.param(f"{GOOD} See https://example.org/z", False, "added", id="one more address"),
        pytest.param(f"{GOOD} Dear {{customer}}", False, "added", id="one more placeholder"),
        pytest.param(f"{GOOD} Yes, 20.", False, None, id="a number again"),
    ],
)
def test_a_variant_is_used_unless_something_is_wrong_with_it(variant: str, cut: bool, reason: str | None) -> None:
    found = chosen(TEXT, [(OTHER, False), (variant, cut)], PROTECTION)
    kept = variant.strip('"')
    assert found == (Variants((OTHER, kept)) if reason is None else Variants((OTHER,), {reason: 1}))


@pytest.mark.parametrize(
    ("variant", "kept"),
    [("I never said that I do not pay", True), ("I said that I do not pay", False), ("I never, not once, said that I do not pay", False)],
)
def test_a_variant_negates_as_often_as_the_text(variant: str, kept: bool) -> None:
    found = chosen("I did not say that I don't pay", [(variant, False)], PROTECTION)
    assert found == (Variants((variant,)) if kept else Variants((), {"negated": 1}))


TABLE = {(0, "a\nb"): Variants(("c ä",), {"cut": 1}), (0, "d"): Variants((), {"cut": 1, "lost": 2}), (2, "d"): Variants(("e", "f"))}


def test_a_table_is_read_back_without_the_half_line_of_a_killed_run(tmp_path: Path) -> None:
    path, head = tmp_path / "table.jsonl", head_of({"seed": 1})
    whole = "".join(f"{line}\n" for line in [head, *lines_of(TABLE)]).encode()
    last = f"{lines_of({(3, 'ä'): Variants()})[0]}\n".encode()
    for length in range(len(last)):
        path.write_bytes(whole + last[:length])  # also within a character
        assert read(path, head) == TABLE
    assert read(path, head_of({"seed": 2})) == {}
    assert read(tmp_path / "none", head) == {}


def test_only_a_table_that_is_not_whole_is_written_anew(tmp_path: Path) -> None:
    path, head = tmp_path / "table.jsonl", head_of({"seed": 1})
    for before, same in ((None, False), ("", True), ('{"operation": 0, "te', False)):
        if before is not None:
            path.write_text(path.read_text() + before)
        file = path.stat().st_ino if before is not None else 0
        replace_unless_whole(path, head, TABLE)
        assert (path.stat().st_ino == file) is same
        assert path.read_text().splitlines() == [head, *lines_of(TABLE)]
    more = TABLE | {(3, "of another run"): Variants(("g",))}
    replace_unless_whole(path, head, more)
    assert read(path, head) == more
    replace_unless_whole(path, head_of({"seed": 2}), {})
    assert path.read_text() == head_of({"seed": 2}) + "\n"
    add(path, {(1, "half \ud83d"): Variants(("x",))})
    assert read(path, head_of({"seed": 2})) == {(1, "half \ud83d"): Variants(("x",))}


def test_the_digest_is_of_what_was_written_in_whatever_order() -> None:
    assert digest_of(TABLE) == digest_of(dict(reversed(TABLE.items())))
    assert digest_of(TABLE) != digest_of(TABLE | {(2, "d"): Variants(("e", "g"))})


def test_the_report_counts_texts_and_variants() -> None:
    assert to_report(TABLE) == {"texts": 3, "kept": 3, "dropped": {"cut": 2, "lost": 2}}


def test_texts_are_replaced_as_a_whole_before_other_operations() -> None:
    section = {
        "operations": [{"wordSwap": {"probability": 1.0}}, {"paraphrase": {"model": {"name": "org/model"}, "probability": 1.0}}],
        "copiesPerRow": 2,
    }
    varying = Augmenter(Augmentation.model_validate(section), 1, {(1, "ask me this"): Variants(("one two", "three four"))})
    rows = [varying.augment(chat("ask me this", "the answer"), epoch, CHAT.vary, copy) for epoch in range(8) for copy in (1, 2)]
    assert {row.messages[0].content for row, _ in rows} == {"two one", "four three"}
    assert {row.messages[1].content for row, _ in rows} == {"the answer"}
    counts = rows[0][1]
    assert (counts.changed, counts.seen, counts.unchanged) == (3, 3, 0)
    assert counts.to_report(["wordSwap", "paraphrase"])["operations"] == {"wordSwap": 2, "paraphrase": 1}
    unknown, counts = varying.augment(chat("me", "the answer"), 0, CHAT.vary, 1)
    assert (unknown.messages[0].content, counts.unchanged) == ("me", 1)
