"""Every kind of place keeps its promise: a folder is complete or absent, through kills, full disks and replacements."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import REPOSITORY
from tests.trainer.storage.places import KINDS, content, publish
from trainer.storage import localfolder
from trainer.storage.localfolder import LocalFolder
from trainer.storage.place import Place


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str, tmp_path: Path) -> Place:
    return KINDS[kind](tmp_path)


def test_a_folder_has_its_name_once_it_is_published_and_with_all_that_is_in_it(place: Place) -> None:
    with place.stage("model/adapter") as staged:
        (staged.folder / "weights").write_text("w")
        staged.flush()
        assert place.names("model") == []
        staged.publish()
        assert place.names("model") == ["model/adapter"]
    publish(place, "model/merged", "m")

    assert (place.fetch("model/adapter") / "weights").read_text() == "w"
    assert content(place, "model/merged") == {"m"}
    assert place.names() == ["model"]


@pytest.mark.parametrize("error", [None, OSError("no"), SystemExit(3)], ids=["left", "failed", "stopped"])
def test_what_is_not_published_leaves_nothing(place: Place, tmp_path: Path, error: BaseException | None) -> None:
    publish(place, "kept", "k")
    before = sorted(tmp_path.rglob("*"))

    def leave() -> None:
        with place.stage("never") as staged:
            (staged.folder / "file").write_text("text")
            if error is not None:
                raise error

    if error is None:
        leave()
    else:
        with pytest.raises(type(error)):
            leave()
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(FileNotFoundError):
        place.fetch("never")


def test_a_folder_replaces_the_earlier_one_of_its_name_with_all_its_files(place: Place) -> None:
    publish(place, "model", "old")
    with place.stage("model") as staged:
        (staged.folder / "only").write_text("new")
        assert content(place, "model") == {"old"}
        staged.publish()
    assert [file.name for file in place.fetch("model").iterdir()] == ["only"]
    assert place.names() == ["model"]


def test_a_folder_is_given_back_and_checked_before_it_takes_the_place_of_an_earlier_one(place: Place) -> None:
    publish(place, "model", "old")
    seen: list[str] = []

    def look(folder: Path) -> None:
        seen.append((folder / "a.txt").read_text())
        assert content(place, "model") == {"old"}
        raise ArithmeticError

    with place.stage("model") as staged:
        (staged.folder / "a.txt").write_text("torn")
        with pytest.raises(ArithmeticError):
            staged.publish(check=look)
    assert seen == ["torn"]
    assert content(place, "model") == {"old"}
    assert place.names() == ["model"]


def test_folders_that_are_staged_together_are_published_one_by_one(place: Place) -> None:
    with place.stage("model/a") as first, place.stage("model/b") as second:
        (first.folder / "file").write_text("1")
        (second.folder / "file").write_text("2")
        second.publish()
        assert place.names("model") == ["model/b"]
        first.publish()
    assert [(place.fetch(name) / "file").read_text() for name in place.names("model")] == ["1", "2"]


def test_a_file_is_put_again_and_again(place: Place) -> None:
    place.put("run.json", "first")
    place.put("deep/down/note", "half a letter \ud800")
    place.put("run.json", "second")
    assert place.fetch("run.json").read_text() == "second"
    assert place.fetch("deep/down/note").read_text() == "half a letter \\ud800"
    assert place.names() == ["deep", "run.json"]


def test_names_are_those_directly_in_a_folder_in_order(place: Place) -> None:
    for name in ("c/step-2", "c/step-10", "b"):
        publish(place, name, name)
    place.put("a.json", "{}")
    assert place.names() == ["a.json", "b", "c"]
    assert place.names("c") == ["c/step-10", "c/step-2"]
    assert [place.names(folder) for folder in ("nowhere", "a.json", "c/nowhere")] == [[], [], []]


def test_what_is_removed_is_gone_and_what_is_not_there_need_not_be_removed(place: Place) -> None:
    publish(place, "model/adapter", "a")
    place.put("run.json", "{}")
    for name in ("model/adapter", "run.json", "nothing"):
        place.remove(name)
        with pytest.raises(FileNotFoundError, match=name):
            place.fetch(name)
    assert place.names() == ["model"]
    assert place.names("model") == []


def test_what_cannot_be_read_is_not_taken_for_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "run.json").symlink_to("x" * 300)  # longer than a name may be
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="File name too long"):
        LocalFolder(tmp_path).fetch("run.json")
    with pytest.raises(FileNotFoundError):
        LocalFolder(tmp_path).fetch("loop")


def test_a_folder_of_a_place_is_a_place(place: Place) -> None:
    below = place.below("model")
    assert below.names() == []
    publish(below, "adapter", "a")
    assert content(place, "model/adapter") == {"a"}
    assert (below.names(), below.uri("adapter")) == (["adapter"], place.uri("model/adapter"))


@pytest.mark.parametrize("name", ["", ".", "..", "../out", "a/../b", "/etc/x", "a//b", "a/", ".hidden", "a/.hidden"])
def test_names_that_lead_elsewhere_or_are_hidden_are_not_written(place: Place, name: str) -> None:
    for write in (lambda: place.put(name, ""), lambda: publish(place, name, ""), lambda: place.remove(name), lambda: place.below(name)):
        with pytest.raises(ValueError, match="is no name in a place"):
            write()


@pytest.mark.parametrize("name", ["..", "../out", "a/../b", "a/../../b", "/etc", "/"])
def test_names_that_lead_elsewhere_are_not_read(place: Place, name: str) -> None:
    for read in (place.fetch, place.names, place.recover):
        with pytest.raises(ValueError, match="is no name in a place"):
            read(name)


def test_a_hidden_file_that_is_there_can_be_read(place: Place) -> None:
    publish(place, "model", "a")
    (place.fetch("model") / ".hidden").write_text("b")
    assert place.fetch("model/.hidden").read_text() == "b"


def test_a_name_is_reported_as_the_user_names_the_place(place: Place) -> None:
    assert place.uri("model/adapter") == f"{place.uri()}/model/adapter"
    assert "://" in place.uri()


def program(code: str, *arguments: str) -> str:
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


KILLED_AT_EACH_STEP = """
import itertools, json, os, signal, sys
from pathlib import Path
from tests.trainer.storage.places import KINDS, content, publish

kind, root, act = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
place = KINDS[kind](root)
ACTS = {
    "publish": lambda: publish(place, "results/new", "new"),
    "replace": lambda: publish(place, "results/old", "new"),
    "remove": lambda: place.remove("results/old"),
    "put": lambda: place.put("results/note", "new"),
}

def act_until(step):
    calls = itertools.count()

    def hook(event, arguments):
        # What touches files or sockets is announced to audit hooks before it happens.
        if event.partition(".")[0] in ("open", "os", "shutil", "socket") and next(calls) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        sys.addaudithook(hook)
        try:
            ACTS[act]()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] != 0

def seen():
    texts = {name.removeprefix("results/"): sorted(content(place, name)) for name in place.names("results") if name != "results/note"}
    return texts | {"note": [place.fetch("results/note").read_text()]}

for step in itertools.count():
    for name in place.names():
        place.remove(name)
    publish(place, "results/old", "old")
    place.put("results/note", "old")
    killed = act_until(step)
    line = {"killed": killed, "seen": seen()}
    place.recover("results")
    line |= {"recovered": seen(), "remains": [path.name for path in root.rglob(".*")]}
    ACTS[act]()
    print(json.dumps(line | {"done": seen()}))
    if not killed:
        break
"""
BEFORE = {"old": ["old"], "note": ["old"]}


@pytest.mark.parametrize(
    ("act", "after", "steps"),
    [
        pytest.param("publish", BEFORE | {"new": ["new"]}, 10, id="publish"),
        pytest.param("replace", BEFORE | {"old": ["new"]}, 10, id="replace"),
        pytest.param("remove", {"note": ["old"]}, 5, id="remove"),
        pytest.param("put", BEFORE | {"note": ["new"]}, 2, id="put"),
    ],
)
def test_a_writer_killed_at_any_step_leaves_what_was_there_before_or_after(
    kind: str, tmp_path: Path, act: str, after: dict[str, list[str]], steps: int
) -> None:
    lines = [json.loads(line) for line in program(KILLED_AT_EACH_STEP, kind, str(tmp_path), act).splitlines()]
    states = [line["seen"] for line in lines]
    turn = states.index(after)
    assert states == [BEFORE] * turn + [after] * (len(states) - turn), "one step at which everything changes"
    assert [line["killed"] for line in lines] == [True] * (len(lines) - 1) + [False]
    assert len(lines) > steps, "the kills must have come in the middle"
    for line in lines:
        assert (line["recovered"], line["remains"], line["done"]) == (line["seen"], [], after)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tests.trainer.storage.places import KINDS, publish

place = KINDS[sys.argv[1]](Path(sys.argv[2]))
publish(place, "old", "old")
place.put("note", "old")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))
for write, name in ((publish, "old"), (publish, "new"), (type(place).put, "note")):
    try:
        write(place, name, 100 * "new")
    except OSError as error:
        print("OSError", error.errno)
"""


def test_a_full_disk_is_an_error_and_leaves_what_was_there_and_no_remains(kind: str, place: Place, tmp_path: Path) -> None:
    assert program(FULL_DISK, kind, str(tmp_path)).splitlines() == 3 * [f"OSError {errno.EFBIG}"]
    assert place.names() == ["note", "old"]
    assert (content(place, "old"), place.fetch("note").read_text()) == ({"old"}, "old")
    assert not list(tmp_path.rglob(".*"))


def test_a_local_folder_gives_a_path_where_no_address_is_known(tmp_path: Path) -> None:
    assert LocalFolder(tmp_path).uri("report.json") == str(tmp_path / "report.json")


def test_a_local_folder_has_every_file_on_the_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    rename = Path.rename

    def renamed(path: Path, target: Path) -> Path:
        events.append("rename")
        return rename(path, target)

    monkeypatch.setattr(localfolder, "sync", lambda path: events.append(path.name))
    monkeypatch.setattr(Path, "rename", renamed)
    publish(LocalFolder(tmp_path), "model", "text")
    turn = events.index("rename")
    assert sorted(events[:turn]) == [".model.finetune-staged", "a.txt", "b.txt", "below"]
    assert events[turn + 1 :] == [tmp_path.name], "and the folder that holds the name afterwards"


def test_a_local_folder_puts_the_earlier_folder_back_when_a_signal_comes_between_the_two_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = LocalFolder(tmp_path)
    publish(place, "model", "old")
    rename = Path.rename

    def stopped(path: Path, target: Path) -> Path:
        if path.name.endswith("-staged"):
            raise SystemExit(3)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(SystemExit):
        publish(place, "model", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert content(place, "model") == {"old"}


def test_a_local_folder_lists_no_link_that_leads_nowhere(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    (tmp_path / "weights").symlink_to(tmp_path / "elsewhere")
    assert place.names() == []
    (tmp_path / "elsewhere").touch()
    assert place.names() == ["elsewhere", "weights"]


def test_a_local_folder_leaves_hidden_files_of_others_alone(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".notes.partial").mkdir()
    place = LocalFolder(tmp_path)
    place.recover()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", ".notes.partial"]
    assert place.names() == []
