"""Merge keys, anchors and keys that stand twice; that kubectl reads the same is shown in test_kubectl.py."""

import pytest

from finetune.cli.jobfile.yamlreader import parse
from finetune.cli.jobfile.yamlwords import YamlError


def refusal(text: str) -> str:
    with pytest.raises(YamlError) as raised:
        parse(text)
    error = raised.value
    return f"{error.line}:{error.column}: {error.problem}; {error.fix}"


def test_a_merge_gives_what_the_mapping_does_not_say_below_it() -> None:
    assert parse("a: &a {x: 1, z: 2}\nb:\n  <<: *a\n  z: 3\n").value["b"] == {"x": 1, "z": 3}


def test_of_several_mappings_the_first_counts() -> None:
    assert parse("a: {<<: [{x: 1}, {x: 2, z: 2}]}").value["a"] == {"x": 1, "z": 2}


def test_a_merge_below_a_key_overrides_it_as_in_kubectl() -> None:
    assert parse("a: {x: 1, <<: {x: 2}}").value["a"] == {"x": 2}


def test_a_merge_key_in_quotes_is_a_key() -> None:
    assert parse('a: {"<<": {x: 1}}').value["a"] == {"<<": {"x": 1}}


def test_a_key_that_stands_twice_is_refused_with_both_places() -> None:
    assert refusal("a: 1\nb: 2\na: 3\n") == "3:1: the key 'a' is given twice, first in line 1; keep one of them"


def test_keys_that_are_the_same_only_to_kubectl_stand_twice_too() -> None:
    assert refusal("on: 1\ntrue: 2\n").startswith("2:1: the key 'true' is given twice")


def test_a_key_above_may_be_overridden_by_a_merge_without_standing_twice() -> None:
    assert parse("a: {<<: {x: 1}, x: 2, <<: {z: 3}}").value["a"] == {"x": 2, "z": 3}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: {<<: 3}", "1:9: the value of << is not a mapping; give it an alias of a mapping"),
        ("a: *b", "1:4: *b names no anchor above it; write &b where the value first appears"),
        ("a: &b {c: *b}", "1:11: *b refers to itself; write the value out"),
        ("[a]: 1", "1:1: a key is a list or an object; a key is a string"),
        ("~: 1", "1:1: a key is empty; write a name before the colon"),
        ("a: .inf", "1:4: .inf is not a number that a job can hold; "),
    ],
)
def test_what_kubectl_cannot_read_is_reported_with_its_place(text: str, expected: str) -> None:
    assert refusal(text).startswith(expected)


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    lines = [f"k{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 25)]
    assert "aliases expand this document beyond the limit" in refusal("k0: &a0 [1,1,1,1,1,1,1,1,1]\n" + "\n".join(lines))


def test_lines_are_counted_from_the_beginning_of_the_file() -> None:
    with pytest.raises(YamlError) as raised:
        parse("a: [1", first_line=10)
    assert raised.value.line == 11


def test_what_follows_the_end_mark_is_listed_as_without_effect() -> None:
    assert parse("a: 1\n...\nb: [\n", first_line=2).without_effect == ("the text from line 5 on, after '...'",)
    assert parse("a: 1\n...\n").without_effect == ()


def test_a_key_that_a_merge_below_it_overrides_is_listed_as_without_effect() -> None:
    found = parse("a:\n  x: 1\n  z: 2\n  <<: {x: 3, z: 2}\n", first_line=10)
    assert (found.value["a"]["x"], found.without_effect) == (3, ("x of line 12, which << of line 14 overrides",))
    assert parse("a:\n  <<: {x: 3}\n  x: 1\n").without_effect == ()
