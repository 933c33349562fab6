"""A log file of bounded size, and the folders of attempts of which the newest stay."""

import fcntl
import multiprocessing
import re
import resource
from pathlib import Path

import pytest

from trainer.logs.kept import ATTEMPTS_KEPT, BEGINNING_BYTES, END_BYTES, FILE_MAX_BYTES, KeptLog, begin_attempt

MAX, ENDS = 1000, (200, 300)


def lines(first: int, last: int) -> str:
    return "".join(f"line {number:05}\n" for number in range(first, last))


def test_a_short_log_is_whole(tmp_path: Path) -> None:
    log = KeptLog(tmp_path / "log")
    log.add("begun\n")
    log.add("a word: \ud83d, Grüße\n")
    assert (tmp_path / "log").read_text() == "begun\na word: ?, Grüße\n"


@pytest.mark.parametrize("at_once", [1, 7, 90, 1000])
def test_a_long_log_keeps_its_first_and_last_lines_and_counts_every_byte_between(tmp_path: Path, at_once: int) -> None:
    log, path, said = KeptLog(tmp_path / "log", MAX, ENDS), tmp_path / "log", lines(0, 2000)
    for first in range(0, 2000, at_once):
        log.add(lines(first, min(first + at_once, 2000)))
        assert path.stat().st_size <= MAX
    beginning, left_out, end = re.fullmatch(r"(.*)\[(\d+) bytes left out\]\n(.*)", path.read_text(), re.DOTALL).groups()
    assert said.startswith(beginning)
    assert said.endswith(end)
    assert len(beginning) + int(left_out) + len(end) == len(said)
    assert len(beginning) > ENDS[0] - 20
    assert len(end) > ENDS[1] - 20


@pytest.mark.parametrize("printed", ["[5 bytes left out]\n", "[5 bytes left out]\n[7 bytes left out]\n"], ids=["once", "twice"])
def test_a_printed_line_that_looks_like_what_was_left_out_is_not_taken_for_it(tmp_path: Path, printed: str) -> None:
    log, path = KeptLog(tmp_path / "log", MAX, ENDS), tmp_path / "log"
    log.add(f"begun\n{printed}")
    for first in range(0, 2000, 7):
        log.add(lines(first, first + 7) + printed)
    shown = path.read_text()
    [gap] = re.finditer(r"(?m)^\[(\d+) bytes left out\]\n", shown)
    beginning, end = shown[: gap.start()], shown[gap.end() :]
    indented = printed.replace("[", " [")
    said = f"begun\n{indented}" + "".join(lines(first, first + 7) + indented for first in range(0, 2000, 7))
    assert len(beginning) > ENDS[0] - 20 * 2
    assert said.startswith(beginning)
    assert said.endswith(end)
    assert len(beginning) + int(gap[1]) + len(end) == len(said)


def add_lines(path: Path, name: str) -> None:
    log = KeptLog(path, MAX, ENDS)
    for number in range(300):
        log.add(f"{name} {number:05}\n")


def test_several_writers_of_one_log_lose_no_line_and_break_none(tmp_path: Path) -> None:
    path, context = tmp_path / "log", multiprocessing.get_context("fork")
    writers = [context.Process(target=add_lines, args=(path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    beginning, left_out, end = re.fullmatch(r"(.*)\[(\d+) bytes left out\]\n(.*)", path.read_text(), re.DOTALL).groups()
    assert [line for line in (beginning + end).splitlines() if not re.fullmatch(r"[abc] \d{5}", line)] == []
    assert len(beginning) + int(left_out) + len(end) == 3 * 300 * len("a 00000\n")
    assert [file.name for file in tmp_path.iterdir()] == ["log"]


def test_a_log_that_another_holds_takes_nothing_and_is_tried_again(tmp_path: Path) -> None:
    log, path = KeptLog(tmp_path / "log"), tmp_path / "log"
    with path.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="unavailable"):
            log.add("a line\n")
    log.add("a line\n")
    assert path.read_text() == "a line\n"


def test_what_is_kept_of_a_long_log_fits_into_its_size() -> None:
    assert BEGINNING_BYTES + END_BYTES < FILE_MAX_BYTES


def test_a_disk_that_fails_in_the_middle_of_an_addition_leaves_the_lines_before_it(tmp_path: Path) -> None:
    log, path = KeptLog(tmp_path / "log"), tmp_path / "log"
    log.add("kept\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            log.add(lines(0, 9))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "kept\n"
    log.add("more\n")
    assert path.read_text() == "kept\nmore\n"


def test_only_the_newest_attempts_stay_and_nothing_else_is_removed(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    (tmp_path / "outside").mkdir()
    for number in range(1, 13):
        (begin_attempt(logs, number) / "rank-0.log").write_text("a line\n")
        (logs / "attempt-old").mkdir(exist_ok=True)
    kept = [f"attempt-{number}" for number in range(13 - ATTEMPTS_KEPT, 13)]
    assert sorted(path.name for path in logs.iterdir()) == sorted([*kept, "attempt-old"])
    assert begin_attempt(logs, 12) == logs / "attempt-12"
    assert (logs / "attempt-12" / "rank-0.log").read_text() == "a line\n"
    assert begin_attempt(logs, 2).is_dir(), "an attempt keeps its own folder, whatever its number"
