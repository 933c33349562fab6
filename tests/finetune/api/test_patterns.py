"""Patterns match what Python's `re` matches, in time that no pattern can blow up."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.api.patterns import LONGEST, REFUSED, Pattern, PatternError

PARTS = st.recursive(
    st.sampled_from(["a", "b", "-", ".", "[ab]", "[^a]", "[a-c]", r"\d", r"\W", r"\.", "^", "$", "()"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join).map("({})".format),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "+?"])).map(lambda pair: f"({pair[0]}){pair[1]}"),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(PARTS.filter(lambda pattern: len(pattern) <= LONGEST), st.text("ab-.c1\n", max_size=8))
def test_a_pattern_matches_what_another_engine_matches(pattern: str, text: str) -> None:
    theirs = re.compile(pattern.replace("$", r"\Z"), re.ASCII)
    assert Pattern(pattern).is_in(text) is (theirs.search(text) is not None)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a{1000}", "counts in braces"),
        ("(?i)a", "groups with options"),
        (r"\bword", "escapes other than"),
        ("[[:alpha:]]", "are not supported"),
        ("a**", "a repetition already"),
        ("*a", "nothing before it"),
        ("(a", "'(' without"),
        ("a)", "')' without"),
        ("[a", "'[' without"),
        ("[z-a]", "a range"),
        ("a\\", "backslash"),
        ("a" * (LONGEST + 1), f"more than {LONGEST}"),
    ],
)
def test_what_cannot_be_searched_for_is_refused_with_the_reason(pattern: str, words: str) -> None:
    with pytest.raises(PatternError, match=re.escape(words)):
        Pattern(pattern)


@pytest.mark.parametrize("pattern", ["(a*)*" * 40 + "b", "(a|a)*" * 40 + "b", ".*" * 127 + "b", "(.*.*.*)*=" * 20])
def test_no_pattern_takes_long(pattern: str) -> None:
    began = time.process_time()
    assert not Pattern(pattern).is_in("a" * 2048)
    assert time.process_time() - began < 5


def test_what_is_refused_is_written_for_the_api_server_too() -> None:
    # The API server's engine knows [:^alnum:], Python's does not.
    theirs = re.compile(REFUSED.replace("[:^alnum:]", r"\W_"))
    for pattern in ("a{2}", "(?i)a", r"\b", r"\x41", "[[:alpha:]]", r"a\.b", r"\d+", "(a|b)"):
        accepted = True
        try:
            Pattern(pattern)
        except PatternError:
            accepted = False
        assert (theirs.search(pattern) is None) is accepted, pattern
