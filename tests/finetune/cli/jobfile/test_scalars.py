"""A scalar is what it is to kubectl; the comparison with kubectl itself stands in test_kubectl.py."""

import math

import pytest

from finetune.cli.jobfile.scalars import ScalarError, as_json, key_text, plain, tagged


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("1e3", 1000),
        ("2.0", 2),
        ("1_000", 1000),
        ("0x10", 16),
        ("0o17", 15),
        ("012", 10),
        ("08", 8),
        ("2e-4", 2e-4),
        (".5", 0.5),
        ("on", True),
        ("n", False),
        ("~", None),
        ("2026-01-02", "2026-01-02"),
        ("1:30", "1:30"),
        ("1e400", "1e400"),
    ],
)
def test_a_plain_scalar_is_read_as_yaml_1_1_and_json_have_it(text: str, meaning: object) -> None:
    value = plain(text)
    assert (value, type(value)) == (meaning, type(meaning))


@pytest.mark.parametrize("text", [".inf", "-.Inf", ".NaN"])
def test_a_number_that_json_does_not_have_is_refused(text: str) -> None:
    with pytest.raises(ScalarError, match="is not a number that a job can hold"):
        plain(text)


def test_a_number_is_an_integer_wherever_its_digits_fit_64_bits() -> None:
    assert [as_json(number) for number in (2.0, -0.0, 1e20, 2**63 - 1, 2**63)] == [2, 0, 1e20, 2**63 - 1, float(2**63)]
    assert isinstance(as_json(1e20), float)
    assert math.isclose(as_json(0.1), 0.1)


def test_a_tag_wins_over_the_form_and_must_fit_it() -> None:
    assert (tagged("tag:yaml.org,2002:str", "3"), tagged("tag:yaml.org,2002:int", "3")) == ("3", 3)
    with pytest.raises(ScalarError, match="'foo' is not what !!int says"):
        tagged("tag:yaml.org,2002:int", "foo")


def test_a_key_is_a_text_in_the_end() -> None:
    assert [key_text(key) for key in ("a", 1, 1.5, True)] == ["a", "1", "1.5", "true"]
    with pytest.raises(ScalarError, match="a key is empty"):
        key_text(None)
