"""Files are taken apart and read as kubectl does it: each is given to the real kubectl, which needs no cluster for that."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.api.errors import BadInputError
from finetune.cli.jobfile.documents import read_documents
from tests.cluster.binaries import kubectl

HEAD = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x}\n"
ITEM = "- {apiVersion: example.com/v1, kind: Thing, metadata: {name: y}}\n"
SCALARS = """
1e3 1_000 0x10 0o17 012 08 1.0 .5 1e-4 on y ~ 2026-01-01 1:30 18446744073709551615 9223372036854775808 1e20 1e21 -0.0 1e400 0b11 .1_0 1.5e3
12345678901234567890123 +1 -0x10 +.5 -.5 1. 1__0 _1 1_ 0b12 0o8 00 0 -0 +0 1e 1e+ e1 .e1 . .. + -a -1e-7 1E5 0X1f 0B1 0O17 0_7 09.5 1_0.5_0
9007199254740993 9007199254740993.0 1.7976931348623157e308 1e309 4.9e-324 -9223372036854775808 -9223372036854775809 0xFFFFFFFFFFFFFFFF
0x1FFFFFFFFFFFFFFFF 9.2233720368547758e18 True TRUE tRUE Null NULL nULL Yes yES N n Off oFF 1.2.3 1-2 0x 0b 0o "1" '2' 3% 0.1 .5e3 190:20:30
100000000000000000000000 2001-12-14t21:59:43.10-05:00 = 0777777777777777777777777 1e-400 0e5 -0e0 ._1 .1__0 é
""".split()  # noqa: SIM905
TAGGED = [
    "!!float 3",
    "!foo bar",
    "!!binary aGFsbG8=",
    "!!str 3",
    '!!int "4"',
    "!!bool yes",
    "!!null ~",
    "! 5",
    '!!float "1e3"',
    "!!int 0x10",
    "!!str",
    "!x",
]
KEYS = ["1", "1.5", "on", "n", "1e3", "012", "0x11", "2026-01-01", "0.1", "-1.25", "123456789.5", '"on"', "!!str yes"]


def by_kubectl(path: Path) -> list[Any] | None:
    """Return the objects that kubectl finds in the file, None where it finds none or refuses."""
    command = [str(kubectl()), "patch", "--local", "--type=merge", "--patch={}", "--output=json", f"--filename={path}"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "KUBECONFIG": "/dev/null"}, check=False)
    if done.returncode:
        return None
    rest, objects = done.stdout.strip(), []
    while rest:
        value, end = json.JSONDecoder(parse_int=lambda digits: float(digits) if len(digits) > 15 else int(digits)).raw_decode(rest)
        objects.append(value)
        rest = rest[end:].strip()
    return objects


def by_us(path: Path) -> list[Any] | None:
    try:
        objects = read_documents(path).objects
    except BadInputError:
        return None
    return json.loads(json.dumps(objects), parse_int=lambda digits: float(digits) if len(digits) > 15 else int(digits)) or None


def both(folder: Path, content: str | bytes) -> tuple[list[Any] | None, list[Any] | None]:
    path = folder / "file.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return by_kubectl(path), by_us(path)


def test_scalars_mean_the_same(tmp_path: Path) -> None:
    theirs, ours = both(tmp_path, HEAD + "values:\n" + "".join(f"- {scalar}\n" for scalar in [*SCALARS, *TAGGED]))
    assert theirs is not None
    assert ours is not None
    spelled = [*SCALARS, *TAGGED]
    assert list(zip(spelled, ours[0]["values"], strict=True)) == list(zip(spelled, theirs[0]["values"], strict=True))


def test_keys_become_the_same_texts(tmp_path: Path) -> None:
    theirs, ours = both(tmp_path, HEAD + "values:\n" + "".join(f"  {key}: {n}\n" for n, key in enumerate(KEYS)))
    assert ours == theirs is not None


MERGES = """\
below: {a: 1, <<: {a: 2, b: 3}}
above: {<<: {a: 2, b: 3}, a: 1}
several: {<<: [{a: 1}, {a: 2, b: 5}], <<: {c: 3}, a: 9}
base: &base {x: 1, z: {w: 2}}
alias: {<<: *base, x: 3}
aliases: {<<: [*base, {x: 7, v: 8}]}
merged: &merged {<<: *base, q: 1}
again: {<<: *merged, "<<": 1}
tagged: {!!merge <<: *base}
"""


def test_merge_keys_give_the_same_members(tmp_path: Path) -> None:
    theirs, ours = both(tmp_path, HEAD + MERGES)
    assert ours == theirs is not None


BODIES = {
    "a merge of a list": "a: &x [1]\nb: {<<: *x}\n",
    "a merge of lists in a list": "a: {<<: [[{a: 1}]]}\n",
    "a merge of nothing": "a: {<<: ~}\n",
    "an anchor twice": "a: &a 1\nb: &a 2\nc: *a\n",
    "an unknown anchor": "a: *nope\n",
    "an anchor in itself": "a: &a {b: *a}\n",
    "an anchor as a key": "a: {x: &k key, *k : 1}\n",
    "a text for an integer": "a: !!int foo\n",
    "a float for an integer": "a: !!int 1.0\n",
    "infinity": "a: .inf\n",
    "a set": "a: !!set {b, c}\n",
    "keys without values": "a: {b, c: }\n",
    "a tab before a value": "a:\ttab\nb: 1\t\nc: [1,\t2]\n",
    "a tab as indentation": "a:\n\t- 1\n",
    "a tab in braces": "a: {\n\tb: 1}\n",
    "keys in braces": 'a: {b:1, "c":2, d: http://x/y}\n',
    "pairs in brackets": "a: [a:1, b: 2]\n",
    "an escaped slash": 'a: "\\/"\n',
    "a backslash before a slash": 'a: "\\\\/"\n',
    "escapes": r'a: "\x41\u00e9\U0001F600\e\0\N\_\L\P"' + "\n",
    "an unknown escape": 'a: "\\q"\n',
    "blocks": "a: |\n  x\n\n  y\nb: >-\n  fold\n  ed\nc: |2\n    z\nd: |+\n  q\n\n",
    "quotes": "a: 'it''s'\nb: \"x\n  y\"\n",
    "a text over lines": "a: plain\n  continued\n",
    "an at sign": "a: @x\n",
    "a dash as a value": "a: -\nb: - \n",
    "a list in the line of its key": "a: - b\n",
    "a comma too much": "a: [1,,2]\n",
    "a comma at the end": "a: [1,]\nb: {a: 1,}\n",
    "a number sign": "a: x #c\nb: x#c\n",
    "a question mark": "? a\n: b\nc: ?\n",
    "an empty key": "~: 1\n",
    "a list as a key": "[a]: 1\n",
    "an emoji": 'a: 😀\nb: "\\U0001F600"\n',
    "half an emoji": 'a: "\\uD83D"\n',
    "no base64": 'a: !!binary "?"\n',
    "a tag of its own": "a: !<tag:yaml.org,2002:int> 3\n",
    "a tag without a handle": "a: !e!x 1\n",
    "a star": "a: *.jsonl\n",
    "an ampersand": "a: &\n",
    "keys of two depths": "a:\n  b: 1\n c: 2\n",
    "a second list entry too deep": "a:\n- 1\n - 2\n",
    "a bell": "a: \x07\n",
    "a line separator": 'a: "\u2028"\n',
    "a deep list": "a: " + "[" * 200 + "]" * 200 + "\n",
    "many aliases": "a: &a [x,x]\n"
    + "".join(f"{b}: &{b} [*{a},*{a}]\n" for a, b in zip("abcdefghijklmnopqrstu", "bcdefghijklmnopqrstuv", strict=True)),
    "some aliases": "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
}
FILES: dict[str, str | bytes] = {
    "a directive": "%YAML 1.1\n---\n" + HEAD,
    "comments and separators": f"# c\n---\n---\n\n---\n{HEAD}---\n# x\n",
    "a separator with a comment": f"--- # c\n{HEAD}",
    "a separator with a document": f"--- {HEAD}",
    "a separator that goes on": f"----\n{HEAD}",
    "text behind the end": f"{HEAD}...\nfoo: [\n",
    "an end": f"{HEAD}...\n",
    "an end with a comment": f"{HEAD}... # c\n",
    "two documents": f"{HEAD}---\n{HEAD}",
    "a byte order mark": b"\xef\xbb\xbf" + HEAD.encode(),
    "utf-16": HEAD.encode("utf-16"),
    "utf-16 of the other end": b"\xfe\xff" + HEAD.encode("utf-16-be"),
    "utf-16 without a mark": HEAD.encode("utf-16-le"),
    "latin-1 in a comment": HEAD.encode() + b"# \xfc\n",
    "crlf": HEAD.replace("\n", "\r\n") + "a: |\r\n  x\r\n  y\r\n",
    "cr": HEAD.replace("\n", "\r"),
    "json": '{"apiVersion":"g/v1","kind":"K","metadata":{"name":"x"},"n":1.0,"m":1e3,"o":1e30,"p":-0.0,"q":"a\\/b\\ud83d\\ude00"}',
    "json objects": '{"apiVersion":"g/v1","kind":"K","metadata":{"name":"x"}}\n{"apiVersion":"g/v1","kind":"K","metadata":{"name":"y"}}',
    "json with a comma too much": '{"apiVersion":"g/v1","kind":"K","metadata":{"name":"x"},}',
    "json, then yaml": '{"apiVersion":"g/v1","kind":"K","metadata":{"name":"x"}}\n---\n' + HEAD,
    "json with text behind": '{"apiVersion":"g/v1","kind":"K","metadata":{"name":"x"}} x',
    "a list": f"apiVersion: v1\nkind: List\nitems:\n{ITEM}{ITEM}",
    "a list that names the kind of its items": "apiVersion: g/v1\nkind: KList\nitems:\n- metadata: {name: a}\n",
    "a list of nothing": "apiVersion: v1\nkind: List\nitems:\n",
    "a list of numbers": "apiVersion: v1\nkind: List\nitems: [3]\n",
    "items that are no list": "apiVersion: v1\nkind: List\nitems: {a: 1}\n",
    "a list without a kind": f"items:\n{ITEM}",
    "a string": "hello\n",
    "nothing": "",
    "a separator": "---",
}


@pytest.mark.parametrize("content", [*(HEAD + body for body in BODIES.values()), *FILES.values()], ids=[*BODIES, *FILES])
def test_a_file_is_read_or_refused_alike(tmp_path: Path, content: str | bytes) -> None:
    theirs, ours = both(tmp_path, content)
    assert ours == theirs


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("0123456789+-._eExXoObBaAfFnNyY~", min_size=1, max_size=7), min_size=200, max_size=200))
def test_scalars_of_all_kinds_of_characters_mean_the_same(tmp_path: Path, texts: list[str]) -> None:
    usable = [
        text
        for text in texts
        if text not in ("-", "---") and not text.startswith("-:") and ".inf" not in text.lower() and ".nan" not in text.lower()
    ]
    theirs, ours = both(tmp_path, HEAD + "values:\n" + "".join(f"- {text}\n" for text in usable))
    assert theirs is not None
    assert ours is not None
    assert list(zip(usable, ours[0]["values"], strict=True)) == list(zip(usable, theirs[0]["values"], strict=True))
