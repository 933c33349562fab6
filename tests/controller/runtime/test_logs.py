import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.runtime.logs import set_up_logging


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_without_a_terminal_each_record_is_one_json_object() -> None:
    stream = io.StringIO()
    set_up_logging("info", stream)
    logging.getLogger("x").info("job started", extra={"key": "team-a/job", "attempt": 2})
    logging.getLogger("x").debug("not shown")

    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["message"], entry["key"], entry["attempt"]) == ("info", "job started", "team-a/job", 2)
    assert entry["time"].endswith("Z")


def test_a_traceback_stays_on_the_line_of_its_record() -> None:
    stream = io.StringIO()
    set_up_logging("info", stream)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("x").exception("failed")

    (line,) = stream.getvalue().splitlines()
    assert "ValueError: two" in json.loads(line)["traceback"]


def test_a_terminal_gets_words() -> None:
    stream = Terminal()
    set_up_logging("info", stream)
    logging.getLogger("x").warning("watch failed", extra={"resource": "pods"})

    assert stream.getvalue().rstrip().endswith('warning watch failed resource="pods"')


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_private_attributes_of_other_libraries_are_not_shown(stream: type[io.StringIO]) -> None:
    out = stream()
    set_up_logging("info", out)
    about = {"levelno": logging.WARNING, "levelname": "WARNING", "msg": "watch failed", "_ray_timestamp_ns": 1795725180839804332}
    logging.getLogger().handle(logging.makeLogRecord(about))

    assert "watch failed" in out.getvalue()
    assert "_ray_timestamp_ns" not in out.getvalue()


@pytest.mark.parametrize(
    "secret",
    [
        "Bearer abcdefgh12345678",
        "bearer ABCDEF.ghij-klmn_opq",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl",
        "hf_AbCdEfGhIjKlMnOpQrStUv",
    ],
)
@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_tokens_never_reach_the_log(secret: str, stream: type[io.StringIO]) -> None:
    out = stream()
    set_up_logging("debug", out)
    logging.getLogger("x").info("sent %s", {"authorization": secret}, extra={"header": secret})
    try:
        raise RuntimeError(secret)
    except RuntimeError:
        logging.getLogger("x").exception("failed")

    assert secret not in out.getvalue()
    assert "[redacted]" in out.getvalue()


PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('url "https://h/?token=abcdefgh" failed', 'url "https://h/?token=[redacted]" failed'),
        ('{"password": "hunter2222"}', '{"password": "[redacted]"}'),
        (f"read {PRIVATE_KEY}", "read [redacted]"),
        ('password: "hunter2222\\"', 'password: "[redacted]"'),
    ],
    ids=["address in quotes", "JSON", "unclosed private key", "backslash before a quote"],
)
@pytest.mark.parametrize(
    "wrap", [lambda text: text, lambda text: {"about": [text]}, lambda text: (text, 1)], ids=["text", "object", "tuple"]
)
def test_a_line_stays_json_whatever_is_taken_out_of_it(text: str, shown: str, wrap: Callable[[Any], Any]) -> None:
    stream = io.StringIO()
    set_up_logging("info", stream)
    logging.getLogger("x").info("said %s", text, extra={"answer": wrap(text), "after": "whole"})

    entry = json.loads(stream.getvalue())
    assert (entry["message"], entry["answer"], entry["after"]) == (f"said {shown}", json.loads(json.dumps(wrap(shown))), "whole")


class Request:
    def __str__(self) -> str:
        return "GET https://me:pa55word@h/"


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_secrets_in_members_and_in_objects_are_not_shown(stream: type[io.StringIO]) -> None:
    out = stream()
    set_up_logging("info", out)
    about = {"answer": {"password": "hunter2222", "kind": "x"}, "api_key": "hunter2222", "request": Request(), "key": "team-a/bot-long"}
    logging.getLogger("x").info("sent", extra=about)

    shown = out.getvalue()
    assert "hunter2222" not in shown
    assert "pa55word" not in shown
    assert all(part in shown for part in ("https://[redacted]@h/", "team-a/bot-long", '"password": "[redacted]"', '"kind": "x"'))


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_what_users_wrote_neither_acts_on_a_terminal_nor_begins_a_line(stream: type[io.StringIO]) -> None:
    out, written = stream(), "a\x1b]0;x\x07\x9b31m\u202e\nb"
    set_up_logging("info", out)
    logging.getLogger("x").warning("cannot be read: %s", written, extra={"job": written, "fields": {written: [written]}})

    [line] = out.getvalue().splitlines()
    assert line.isprintable()
    assert "cannot be read: a" in line


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_traceback_has_no_control_characters(stream: type[io.StringIO]) -> None:
    out = stream()
    set_up_logging("info", out)
    try:
        raise ValueError("a\x1b[2J\x9b31m\u202eb")
    except ValueError:
        logging.getLogger("x").exception("failed")

    assert out.getvalue().replace("\n", "").isprintable()
