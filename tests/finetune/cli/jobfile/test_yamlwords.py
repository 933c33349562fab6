"""An error of YAML is reported with its place, what is there and what to do, not in the parser's own terms."""

import pytest

from finetune.cli.jobfile.yamlreader import parse
from finetune.cli.jobfile.yamlwords import YamlError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a:\n\t- 1", "2:1: the line is indented with a tab; use spaces", id="tab"),
        pytest.param("a: |\n\tb", "2:1: the line is indented with a tab; use spaces", id="tab in a block"),
        pytest.param("a: b: c", "1:5: there is a second ': ' in one value; put quotes around the string that holds it", id="two colons"),
        pytest.param("a:1\nb: 2", "1:None: there is no space after the colon; write 'key: value'", id="no blank after a colon"),
        pytest.param(
            "a: 1\n  b: 2", "2:4: this key is indented deeper than the one above it, which has a value; indent it like", id="too deep"
        ),
        pytest.param("a:\n  b: 1\n c: 2", "3:2: the indentation matches no line above; the keys before it", id="between depths"),
        pytest.param("a: 1\n- 2", "2:1: a list entry is mixed with the keys that began in line 1; indent it", id="entry among keys"),
        pytest.param("- 1\na: 2", "2:1: this line is not an entry of the list that began in line 1; start it", id="key among entries"),
        pytest.param("a: [1\nb: 2", "1:4: [ is not closed, or a comma is missing after it; add ] or the comma", id="bracket"),
        pytest.param("a: {b: 1\nc: 2", "1:4: { is not closed, or a comma is missing after it; add } or the comma", id="brace"),
        pytest.param("a: 'b\nc: 2", "1:4: this quote is never closed; close it", id="quote"),
        pytest.param("a: 'it's'", "1:8: there is text after the closing '; write '' for a ' in single quotes", id="quote in quotes"),
        pytest.param('a: "Say "hi""', '1:10: there is text after the closing "; write \\" for a " in double quotes', id="quotes in quotes"),
        pytest.param("a: 1\nkind Pod\nb: 2", "2:1: this line is not 'key: value', it has no colon", id="no colon"),
        pytest.param("a: @b", "1:4: a value cannot begin with @; put quotes around the string", id="at"),
        pytest.param("a: *.jsonl", "1:4: a value cannot begin with *; put quotes around the string", id="star"),
        pytest.param("a: !b!c", "1:4: a value cannot begin with !; put quotes around the string", id="tag"),
        pytest.param("a: - b", "1:4: a list entry starts on the line of its key; start it on a line of its own", id="entry behind its key"),
        pytest.param("a: [1,,2]", "1:7: , was found where a value was expected; give a value, or take it away", id="two commas"),
        pytest.param('a: "C:\\data"', "1:7: \\d is not an escape in double quotes; double the backslash", id="backslash"),
        pytest.param("a: | b", "1:4: there is text on the line of | or >; start it on the next line", id="block"),
        pytest.param("a: b\x01", "1:5: there is a control character, U+0001; remove it", id="control character"),
        pytest.param("%YAML 1.1\n", "1:1: kubectl does not read directives (%…)", id="directive"),
    ],
)
def test_an_error_names_its_place_what_stands_there_and_what_to_do(text: str, expected: str) -> None:
    with pytest.raises(YamlError) as raised:
        parse(text)
    error = raised.value
    assert f"{error.line}:{error.column}: {error.problem}; {error.fix}".startswith(expected)
