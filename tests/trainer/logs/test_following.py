"""How lines come from a local file into the log, and what a follower does when the output takes none."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from trainer.logs.following import BEHIND_MAX_BYTES, LINE_MAX_LENGTH, Follower, Source, follow
from trainer.logs.kept import KeptLog

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUv"


class Written:
    """A local file that grows, and what its source has read."""

    def __init__(self, file: BinaryIO, source: Source) -> None:
        self._file, self._source = file, source

    def __call__(self, data: bytes, *, ended: bool = False) -> str:
        self._file.write(data)
        read = ""
        while text := self._source.read(ended=ended):
            read += text
        return read


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    with (tmp_path / "source").open("wb", buffering=0) as file, (tmp_path / "source").open("rb") as read:
        yield Written(file, Source(read, ["korrekt-pferd"]))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"step 1\nstep 2\n", "step 1\nstep 2\n", id="lines"),
        pytest.param(b"\n\nx\n", "\n\nx\n", id="empty lines"),
        pytest.param(b"\x1b[36m(rank)\x1b[0m step\n", "(rank) step\n", id="colors"),
        pytest.param(b"0%|  |\r50%|# |\r100%|##|\n", "100%|##|\n", id="a progress bar that ends"),
        pytest.param(b"0%|  |\r50%|# |\rdone\r\n", "done\n", id="a progress bar of Windows"),
        pytest.param(f"login {TOKEN}\n".encode(), "login [redacted]\n", id="a token"),
        pytest.param(b"401 for korrekt-pferd\n", "401 for [redacted]\n", id="the value of a secret variable"),
        pytest.param(b":job_id:01000000\n:actor_name:RayTrainWorker\nx\n", "x\n", id="marks of Ray"),
        pytest.param(b"a\x07\x1bb\xff\n", "ab\ufffd\n", id="what no terminal should be sent"),
        pytest.param("a\x85\x9b\u202e\u2066\u200bb\u2028c\td\n".encode(), "ab c\td\n", id="further controls and directions"),
        pytest.param(f"{TOKEN[:9]}\x07{TOKEN[9:]} x\n".encode(), "[redacted] x\n", id="a token with a bell inside"),
        pytest.param(f"{TOKEN[:9]}\u200b\u202e{TOKEN[9:]} x\n".encode(), "[redacted] x\n", id="a token with directions inside"),
        pytest.param(f"{TOKEN[:9]}\x1b[K{TOKEN[9:]} x\n".encode(), "[redacted] x\n", id="a token with a command inside"),
        pytest.param(b"401 for korrekt-\x01pferd\n", "401 for [redacted]\n", id="the value of a secret variable with a control inside"),
    ],
)
def test_lines_arrive_as_a_terminal_shows_them_and_without_secrets(written: Written, data: bytes, expected: str) -> None:
    assert written(data) == expected


KEY = ["-----BEGIN RSA PRIVATE KEY-----", *(f"MIIEowIBAAKCAQEA{number:04}" for number in range(24)), "-----END RSA PRIVATE KEY-----"]


@pytest.mark.parametrize("at", range(1, len(KEY)))
def test_a_private_key_that_is_read_in_parts_leaves_none_of_them(written: Written, at: int) -> None:
    def data(*lines: str) -> bytes:
        return "".join(f"{line}\n" for line in lines).encode()

    read = written(data("before", *KEY[:at])) + written(data(*KEY[at : at + 3])) + written(data(*KEY[at + 3 :], "after", ""))
    assert read == "before\n[redacted]\nafter\n\n"
    assert written(data("more")) == "more\n"


def test_what_only_looks_like_the_beginning_of_a_key_does_not_end_the_log(written: Written) -> None:
    assert written(f"no {KEY[0]} in the file\n".encode()) == "no [redacted]\n"
    assert "step 999\n" in "".join(written(f"step {number}\n".encode() * 10) for number in range(1000))


def test_a_line_arrives_when_it_is_whole_and_the_last_one_at_the_end(written: Written) -> None:
    assert written(f"one\nthe token is {TOKEN[:9]}".encode()) == "one\n"
    assert written(f"{TOKEN[9:]}\nlast wor".encode()) == "the token is [redacted]\n"
    assert written(b"ds", ended=True) == "last words\n"
    assert written(b"", ended=True) == ""


def test_a_progress_bar_that_never_ends_takes_no_room_and_its_last_state_is_kept(written: Written) -> None:
    for percent in range(100):
        assert written(b"%d%%|\r" % percent) == ""
    assert written(b"", ended=True) == "99%|\n"


@pytest.mark.parametrize("length", [LINE_MAX_LENGTH + 1, 300_000])
@pytest.mark.parametrize("border", [LINE_MAX_LENGTH, 64 * 2**10, 128 * 2**10])
def test_a_long_line_is_cut_and_no_part_of_a_secret_at_a_border_stays(written: Written, length: int, border: int) -> None:
    line = ("x" * (border - 9) + f" {TOKEN} ").ljust(length, "y")
    read = written(f"{line}\nnext\n".encode())
    assert len(read) < LINE_MAX_LENGTH + 100
    assert read.endswith(" characters left out]\nnext\n")
    assert "AbC" not in read


def test_one_that_is_far_behind_goes_on_near_the_end_and_says_so(written: Written) -> None:
    assert written(b"first\nbeg") == "first\n"
    whole = b"un\n" + b"a line\n" * (BEHIND_MAX_BYTES // 7 + 1) + b"last\n"
    said, _, read = written(whole).partition("\n")
    assert said == f"[too much at once: {len(b'beg' + whole) - len(read)} bytes left out]"
    assert read.startswith("a line\n")
    assert read.endswith("a line\nlast\n")
    assert len(read) < BEHIND_MAX_BYTES / 4


class Process:
    """A process that has ended after so many looks."""

    def __init__(self, looks: int) -> None:
        self._looks = looks

    @property
    def alive(self) -> bool:
        self._looks -= 1
        return self._looks >= 0


class Clock:
    """Time that passes when it is waited for; told to end at a time, once."""

    def __init__(self, told_at: float = float("inf")) -> None:
        self.now, self._told_at = 0.0, told_at

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        told, self._told_at = self.now >= self._told_at, float("inf") if self.now >= self._told_at else self._told_at
        return told


def test_an_output_that_fails_for_a_while_is_complained_of_once_and_gets_every_line_once(tmp_path: Path) -> None:
    source, said, log, clock = tmp_path / "source", list[str](), tmp_path / "out" / "log", Clock()
    source.write_text("".join(f"line {number}\n" for number in range(20_000)))
    with source.open("rb") as file:
        follower = Follower([Source(file, ())], lambda: KeptLog(log, 10**7), said.append, "first\n")
        for _ in range(5):
            assert not follower.turn()
        assert len(said) == 1
        assert "training continues" in said[0]
        log.parent.mkdir()
        follow(Process(3), follower, "rank 0", clock.wait, clock)  # type: ignore[arg-type]
    first, *lines, last = log.read_text().splitlines()
    assert first == "first"
    assert lines == [f"line {number}" for number in range(20_000)]
    assert last.startswith("--- end of the log of rank 0")


@pytest.mark.parametrize(
    ("process", "told_at", "at_most"),
    [
        pytest.param(lambda: Process(4), float("inf"), 15.0, id="its process has ended"),
        pytest.param(lambda: Process(10**6), 5.0, 7.0, id="it is told to end"),
    ],
)
def test_an_output_that_never_works_is_given_up_soon_after_the_end(
    tmp_path: Path, process: Callable[[], Process], told_at: float, at_most: float
) -> None:
    source, said, clock = tmp_path / "source", list[str](), Clock(told_at)
    source.write_text("a line\n")
    with source.open("rb") as file:
        follower = Follower([Source(file, ())], lambda: KeptLog(tmp_path / "no" / "log"), said.append, "first\n")
        follow(process(), follower, "rank 0", clock.wait, clock)  # type: ignore[arg-type]
    assert clock.now <= at_most
    assert len(said) == 1
