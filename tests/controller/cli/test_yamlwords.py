"""An error of YAML is told with its place, what stands there and what to do, not in the parser's own terms."""

import pytest

from controller.cli.yamlreader import parse
from controller.cli.yamlwords import YamlError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a:\n\t- 1", "2:1: a tab indents this line; use spaces", id="tab"),
        pytest.param("a: |\n\tb", "2:1: a tab indents this line; use spaces", id="tab in a block"),
        pytest.param("a: b: c", "1:5: a second ': ' stands in one value; put quotes around the text that holds it", id="two colons"),
        pytest.param("a:1\nb: 2", "1:None: no blank stands after the colon; write 'key: value'", id="no blank after a colon"),
        pytest.param("a: 1\n  b: 2", "2:4: a key begins where the value above it goes on; indent this line like", id="too deep"),
        pytest.param("a:\n  b: 1\n c: 2", "3:2: the indentation fits no line above; the keys before it", id="between depths"),
        pytest.param("a: 1\n- 2", "2:1: a list entry stands among the keys that began in line 1; indent it", id="entry among keys"),
        pytest.param("- 1\na: 2", "2:1: this stands among the entries of a list that began in line 1; begin it", id="key among entries"),
        pytest.param("a: [1\nb: 2", "1:4: [ is not closed, or a comma is missing after it; add ] or the comma", id="bracket"),
        pytest.param("a: {b: 1\nc: 2", "1:4: { is not closed, or a comma is missing after it; add } or the comma", id="brace"),
        pytest.param("a: 'b\nc: 2", "1:4: a quote is opened and not closed; close it", id="quote"),
        pytest.param("a: 'it's'", "1:8: text goes on behind the closing '; double a ' inside of '…'", id="quote in quotes"),
        pytest.param('a: "Say "hi""', '1:10: text goes on behind the closing "; write \\" for a " inside of "…"', id="quotes in quotes"),
        pytest.param("a: 1\nkind Pod\nb: 2", "2:1: this line is no 'key: value', it has no colon", id="no colon"),
        pytest.param("a: @b", "1:4: a value cannot begin with @; put quotes around the text", id="at"),
        pytest.param("a: *.jsonl", "1:4: a value cannot begin with *; put quotes around the text", id="star"),
        pytest.param("a: !b!c", "1:4: a value cannot begin with !; put quotes around the text", id="tag"),
        pytest.param("a: - b", "1:4: a list entry begins in the line of its key; begin it in a line of its own", id="entry behind its key"),
        pytest.param("a: [1,,2]", "1:7: , stands where a value is expected; give a value, or take it away", id="two commas"),
        pytest.param('a: "C:\\data"', '1:7: \\d means nothing inside of "…"; double the backslash', id="backslash"),
        pytest.param("a: | b", "1:4: text stands in the line of | or >; begin it in the next line", id="block"),
        pytest.param("a: b\x01", "1:5: the control character U+0001 stands there; remove it", id="control character"),
        pytest.param("%YAML 1.1\n", "1:1: a directive (%…) stands before the document", id="directive"),
    ],
)
def test_an_error_names_its_place_what_stands_there_and_what_to_do(text: str, expected: str) -> None:
    with pytest.raises(YamlError) as raised:
        parse(text)
    error = raised.value
    assert f"{error.line}:{error.column}: {error.problem}; {error.fix}".startswith(expected)
