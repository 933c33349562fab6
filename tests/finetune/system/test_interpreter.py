"""A program of ours takes no modules from where its user is, and no harm from the locale."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.system.interpreter import ROOT, lasting_python_path

PROGRAM = """
from finetune.system.interpreter import finish_printing, forget_current_folder, print_in_any_locale, use_utf8
use_utf8()
forget_current_folder()
print_in_any_locale()
import pathlib, random, sys
print(random.__file__)
print(open("notes", "w").encoding)
for argument in sys.argv[1:]:
    print(pathlib.Path(argument).is_file(), argument)
finish_printing()
"""
LOCALES = [
    pytest.param({"LC_ALL": "C"}, id="C"),
    pytest.param({"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, id="ascii"),
    pytest.param({"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, id="a terminal in ascii"),
    pytest.param({"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}, id="a terminal in latin-1"),
]


def started(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    (folder / "program").mkdir(exist_ok=True)
    (folder / "program/__main__.py").write_text(PROGRAM)
    changes = {"PYTHONPATH": os.pathsep.join([str(ROOT), environment.pop("PYTHONPATH", str(ROOT))])}
    command = [sys.executable, "-m", "program", *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | changes | environment, capture_output=True, check=False)


@pytest.mark.parametrize("path", [str(ROOT), "", ".", "sub", f"{ROOT}:"], ids=["-m alone", "empty", "dot", "relative", "trailing colon"])
def test_a_module_where_the_user_is_does_not_take_the_place_of_ours(tmp_path: Path, path: str) -> None:
    for place in (tmp_path, tmp_path / "sub"):
        place.mkdir(exist_ok=True)
        (place / "random.py").write_text("raise SystemExit('the wrong module')")
    done = started(tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr.decode()
    assert str(tmp_path) not in done.stdout.decode().splitlines()[0]


def test_only_absolute_entries_of_the_python_path_are_handed_on() -> None:
    assert lasting_python_path({"PYTHONPATH": ":/a:b:.:/c:"}) == ["/a", "/c"]
    assert lasting_python_path({}) == []


@pytest.mark.parametrize("environment", LOCALES)
def test_file_names_and_files_are_utf_8_and_printing_never_fails(tmp_path: Path, environment: dict[str, str]) -> None:
    name = str(tmp_path / "Gr\u00fc\u00dfe \U0001f642.txt")
    Path(name).touch()
    done = started(tmp_path, name, **environment)
    assert done.returncode == 0, done.stderr.decode()
    _, encoding, found = done.stdout.splitlines()
    assert encoding.lower() == b"utf-8"
    assert found.startswith(b"True ")
    assert b"Gr" in found


def test_a_reader_that_is_gone_does_not_change_the_exit_code(tmp_path: Path) -> None:
    program = """
import sys
from finetune.system.interpreter import finish_printing
sys.stdin.read()
print("words")
finish_printing()
sys.exit(3)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.close()
        process.stdin.close()
        assert process.wait(20) == 3


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"], ids=["output", "errors", "both"])
def test_a_stream_that_is_closed_does_not_change_the_exit_code(tmp_path: Path, closed: str) -> None:
    program = """
import sys
from finetune.system.interpreter import finish_printing, print_in_any_locale
print_in_any_locale()
sys.stdout.write("words")
sys.stderr.write("more words")
finish_printing()
sys.exit(3)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, program], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 3
