"""The places of words in what a template writes are found without looking for the words."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.chat.marking import Way, Written, locate
from trainer.chat.template import Wire
from trainer.text.controls import NEVER

TURNS = [{"role": "user", "content": "Is it A?"}, {"role": "assistant", "content": "<think>\nA?\n</think>\n\nIt is A."}]


def drawn(write: Any) -> Any:
    def draw(turns: Sequence[Wire], tools: Sequence[Any] | None) -> str:
        return "".join(f"[{turn['role']}]\n{write(turn['content'])}[end]\n" for turn in turns)

    return draw


def places(write: Any, turns: Sequence[Wire] = TURNS, controls: re.Pattern[str] = NEVER) -> tuple[Written, list[str]]:
    found = locate(drawn(write), turns, None, lambda role: controls)
    assert found is not None
    written = found[0]
    return written, [written.text[stretch.start : stretch.end] for stretch in written.stretches]


def test_words_that_stay_as_they_are_stand_in_one_stretch_each() -> None:
    written, words = places(lambda content: content)
    assert words == ["Is it A?", "<think>\nA?\n</think>\n\nIt is A."]
    assert written.text == drawn(lambda content: content)(TURNS, None)
    assert [stretch.piece.turn for stretch in written.stretches] == [0, 1]


def test_of_words_that_are_dropped_in_part_the_rest_is_found() -> None:
    assert places(lambda content: content.split("</think>")[-1].lstrip("\n"))[1] == ["Is it A?", "It", "is", "A."]


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda content: content + ("!" if content.endswith("A?") else ""), id="the end"),
        pytest.param(lambda content: content + ("!" if content.startswith("Is") else ""), id="the beginning"),
        pytest.param(str.upper, id="other letters"),
        pytest.param(lambda content: content.strip(), id="trimmed"),
        pytest.param(lambda content: content.replace("\n", " "), id="on one line"),
    ],
)
def test_templates_that_look_at_or_change_the_words_are_read_all_the_same(write: Any) -> None:
    written, words = places(write)
    assert written.text == drawn(write)(TURNS, None)
    assert words[-1].casefold().endswith("a.")


@pytest.mark.parametrize("change", [str.capitalize, str.title], ids=["capitalize", "title"])
def test_a_first_word_that_the_template_changes_belongs_to_its_turn(change: Any) -> None:
    turns = [{"role": "user", "content": "is it ABC?"}, {"role": "assistant", "content": "straße is it"}]
    written, words = places(change, turns)
    assert " ".join(words) == change("is it ABC?") + " " + change("straße is it")
    assert [stretch.piece.turn for stretch in written.stretches] == [0, 0, 0, 1, 1, 1]


def test_a_word_whose_letters_the_template_exchanges_goes_from_one_white_space_or_tag_to_the_next() -> None:
    assert places(lambda content: f"<b>*{content[1:]}", [{"role": "user", "content": "is it ABC"}])[1] == ["*s", "it", "ABC"]
    assert places(lambda content: f"so *{content[1:]}", [{"role": "user", "content": "is it ABC"}])[1] == ["*s", "it", "ABC"]


def test_a_template_that_counts_letters_cannot_be_read() -> None:
    assert locate(drawn(lambda content: f"{len(content)} {content}"), TURNS, None, lambda role: NEVER) is None


def test_names_of_control_tokens_in_schemas_of_tools_are_found() -> None:
    def draw(turns: Sequence[Wire], tools: Sequence[Any] | None) -> str:
        return f"{json.dumps(tools, ensure_ascii=False)} {turns[0]['content']}"

    tools = [{"name": "f", "about": ["ends with </s>"], "</s>": 1}]
    found = locate(draw, TURNS[:1], tools, lambda role: re.compile("</s>"))
    assert found is not None
    assert [found[0].text[stretch.start : stretch.end] for stretch in found[0].stretches] == ["</s>", "</s>", "Is it A?"]


def test_characters_of_private_use_in_tools_and_in_the_template_do_not_mislead() -> None:
    def draw(turns: Sequence[Wire], tools: Sequence[Any] | None) -> str:
        return f"\U000f0000{json.dumps(tools, ensure_ascii=False)}\U000f0001 {turns[0]['content']}"

    tools = [{"name": "f", "\U000f0002": ["\U000f0003"]}]
    found = locate(draw, TURNS[:1], tools, lambda role: NEVER)
    assert found is not None
    assert found[0].text == draw(TURNS[:1], tools)
    assert [found[0].text[stretch.start : stretch.end] for stretch in found[0].stretches] == ["Is it A?"]


WORDS = st.text(st.sampled_from("ab <>/\n[]\U000f0000\U000f0001ü"), max_size=20)


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_any_words_are_found_where_they_stand(contents: list[str]) -> None:
    """Characters of private use in the words themselves do not mislead."""
    turns = [{"role": "user", "content": content} for content in contents]
    written, words = places(lambda content: content, turns)
    assert written.text == drawn(lambda content: content)(turns, None)
    assert words == [content.strip() for content in contents if content.strip()]


def test_marks_stay_outside_of_white_space_and_tags() -> None:
    found = locate(drawn(lambda content: content), TURNS, None, lambda role: NEVER)
    assert found is not None
    piece = found[1].pieces[1]
    opens, closes = piece.opens, piece.closes
    assert piece.marked(Way.WORDS) == (f"<think>\n{opens}A?{closes}\n</think>\n\n{opens}It{closes} {opens}is{closes} {opens}A.{closes}")


def test_the_words_of_a_text_are_read_a_few_times_however_many_marks_are_lost() -> None:
    class Counting:
        """A pattern that nothing matches, and that counts how often a text is divided by it."""

        times = 0

        @property
        def pattern(self) -> str:
            self.times += 1
            return NEVER.pattern

        def fullmatch(self, *args: Any) -> None:
            return None

    controls: Any = Counting()
    content = " ".join(f"word{number}" for number in range(300))
    words = places(str.capitalize, [{"role": "user", "content": content}], controls)[1]
    assert words == content.capitalize().split()
    assert controls.times < 20
