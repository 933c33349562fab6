"""What is fetched in a closed process is fetched by a program of its own, which has the token, at the commit that was found first."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from finetune.api.errors import InputError
from finetune.api.record import REASON_GENERIC, REASON_MEMORY
from finetune.api.sources import HuggingFaceDataset
from finetune.system import hubaccess
from finetune.system.hubaccess import CLOSED, close_but_for_fetching
from tests.repository import REPOSITORY
from tests.trainer.fixtures.causal import save_tiny_model
from tests.trainer.hub.watched import WatchedHub, watched_hub
from tests.trainer.model.hub_server import COMMIT, GOOD_TOKEN, NAME, Behavior, hub_server
from trainer.driver.exits import reason_of
from trainer.hub import fetching
from trainer.hub.connection import FetchError, FetchMemoryError, FetchStorageError, HubUnavailable
from trainer.hub.fetching import COMMAND, model_files, read_hub
from trainer.hub.models import HubSettings

LATER = "f" * 40


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps({"prompt": f"q{n}", "completion": f"a{n}"}) + "\n" for n in range(3)))
    return folder


@pytest.fixture
def hub(saved_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedHub]:
    """A gated hub, in a process that was closed while it had the token."""
    for name in CLOSED:
        monkeypatch.setenv(name, "")  # so that it is as it was afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(hubaccess, "_kept", None)
    monkeypatch.setattr(fetching, "_commits", {})
    monkeypatch.setattr(fetching, "_data_sets", {})
    with watched_hub(saved_model, rows) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setenv("HF_TOKEN", GOOD_TOKEN)
        close_but_for_fetching()
        yield server


def fetched_only_by_the_program(hub: WatchedHub) -> bool:
    """Return whether there were requests, and all came from programs that fetch."""
    return bool(hub.askers) and all(command[1:] == list(COMMAND[1:]) for _, command in hub.askers)


def test_a_gated_model_is_fetched_by_another_program_and_this_one_has_no_token(hub: WatchedHub) -> None:
    snapshot = model_files(NAME, None)
    assert (snapshot.commit, (snapshot.path / "model.safetensors").is_file()) == (COMMIT, True)
    assert "HF_TOKEN" not in os.environ
    assert fetched_only_by_the_program(hub)


def test_a_repository_that_changes_after_the_first_answer_changes_nothing(hub: WatchedHub, tmp_path: Path) -> None:
    before = model_files(NAME, None, weights=False)
    hub.history[LATER], hub.main = save_tiny_model(tmp_path / "later", seed=4), LATER
    small, whole = model_files(NAME, None, weights=False), model_files(NAME, None)
    assert [found.commit for found in (before, small, whole)] == [COMMIT] * 3
    assert (whole.path / "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()
    assert model_files(NAME, LATER).commit == LATER, "what is asked for by a commit is that commit"


def test_what_is_on_this_disk_is_not_asked_for_again(hub: WatchedHub) -> None:
    first = model_files(NAME, None)
    hub.behavior, asked = Behavior.FAILING, len(hub.askers)
    again = (model_files(NAME, None), model_files(NAME, COMMIT), model_files(NAME, None, weights=False))
    assert [found.path for found in again] == [first.path] * 3
    assert len(hub.askers) == asked


def test_rows_are_fetched_by_another_program_once_and_slices_stay_slices(hub: WatchedHub) -> None:
    source = HuggingFaceDataset(name=NAME)
    records, commit = read_hub("data.train[0]", source)
    assert [record.values["prompt"] for record in records] == ["q0", "q1", "q2"]
    assert commit == COMMIT
    assert fetched_only_by_the_program(hub)
    asked = len(hub.askers)
    assert [record.values["completion"] for record in read_hub("data.train[0]", source)[0]] == ["a0", "a1", "a2"]
    assert len(hub.askers) == asked
    part, _ = read_hub("data.test[0]", HuggingFaceDataset(name=NAME, split="train[1:2]"))
    assert [record.values["prompt"] for record in part] == ["q1"]


def test_what_is_wrong_is_said_as_if_this_process_had_asked(hub: WatchedHub) -> None:
    with pytest.raises(InputError, match=r"model\.name: there is no model acme/other") as missing:
        model_files("acme/other", None)
    assert missing.value.field == "model.name"
    with pytest.raises(InputError, match=r"data\.train\[0\]\.huggingFace\.split: ") as split:
        read_hub("data.train[0].huggingFace", HuggingFaceDataset(name=NAME, split="dev"))
    assert split.value.field == "data.train[0].huggingFace.split"
    hub.behavior = Behavior.FAILING
    with pytest.raises(HubUnavailable, match="503"):
        model_files("acme/tiny", None)


def test_a_disk_that_cannot_be_written_is_told_from_a_hub_that_fails(
    hub: WatchedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    with pytest.raises(FetchStorageError, match="NotADirectoryError"):
        model_files(NAME, None)


@pytest.mark.usefixtures("hub")
def test_a_program_that_is_killed_is_an_error_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "COMMAND", (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"))
    with pytest.raises(FetchMemoryError, match=r"fetches acme/tiny from the hub was killed; .* out of memory") as caught:
        model_files(NAME, None)
    assert reason_of(caught.value) == REASON_MEMORY


@pytest.mark.usefixtures("hub")
def test_a_program_that_ends_without_an_answer_is_an_error_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "COMMAND", (sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(FetchError, match=r"fetches acme/tiny from the hub ended with exit code 3, without an answer") as caught:
        model_files(NAME, None)
    assert reason_of(caught.value) == REASON_GENERIC


# The program, with another way to fetch.
REPLACED = """
from trainer.hub import fetching

def replaced(*request):
    raise MemoryError("no room")

fetching.ANSWERS["model"] = replaced
fetching.main()
"""


@pytest.mark.usefixtures("hub")
def test_a_program_that_has_no_room_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "COMMAND", (sys.executable, "-c", REPLACED))
    with pytest.raises(FetchMemoryError, match="MemoryError: no room") as caught:
        model_files(NAME, None)
    assert reason_of(caught.value) == REASON_MEMORY


def test_the_log_tells_of_no_request_that_went_well(hub: WatchedHub, capfd: pytest.CaptureFixture[str]) -> None:
    model_files(NAME, None)
    assert hub.askers
    assert "HTTP Request" not in capfd.readouterr().err


def test_the_log_tells_what_a_hub_that_fails_has_led_to_and_not_what_the_user_must_change(
    hub: WatchedHub, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError):
        model_files("acme/other", None)
    assert "Traceback" not in capfd.readouterr().err
    hub.behavior = Behavior.FAILING
    with pytest.raises(HubUnavailable):
        model_files(NAME, None)
    said = capfd.readouterr().err
    assert "fetching acme/tiny failed" in said
    assert "HfHubHTTPError" in said
    assert GOOD_TOKEN not in said


ASKER = """
from finetune.system.hubaccess import close_but_for_fetching
close_but_for_fetching()
from trainer.hub.fetching import model_files
model_files("acme/tiny", None)
"""


@pytest.mark.fault
def test_a_program_whose_trainer_was_killed_does_not_fetch_on(saved_model: Path, tmp_path: Path) -> None:
    with hub_server(saved_model, Behavior.SILENT) as server:
        own = {"HF_ENDPOINT": server.endpoint, "PYTHONPATH": str(REPOSITORY), "HF_HOME": str(tmp_path / "home")}
        trainer = subprocess.Popen([sys.executable, "-c", ASKER], env=os.environ | own)
        deadline = time.monotonic() + 60
        while not server.requests:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        [program] = psutil.Process(trainer.pid).children()
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
        psutil.wait_procs([program], timeout=60)
        assert not program.is_running() or program.status() == psutil.STATUS_ZOMBIE


def test_a_process_that_is_closed_for_good_looks_in_its_cache_and_asks_nobody(saved_model: Path, tmp_path: Path) -> None:
    program = """
import os, sys
from finetune.system.hubaccess import close
if sys.argv[1] == "rank":
    close()
from finetune.api.errors import RunError
from trainer.hub.fetching import model_files
from trainer.hub.models import HubSettings
try:
    print(model_files("acme/tiny", sys.argv[2]).path.name, HubSettings.from_environment().token)
except RunError as error:
    print(type(error).__name__, error)
"""
    login = tmp_path / "token"
    login.write_text(GOOD_TOKEN)
    with hub_server(saved_model) as server:
        own = {
            "HF_ENDPOINT": server.endpoint,
            "PYTHONPATH": str(REPOSITORY),
            "HF_HOME": str(tmp_path / "home"),
            "HF_TOKEN_PATH": str(login),
        }

        def said(*arguments: str) -> str:
            command = [sys.executable, "-c", program, *arguments]
            others = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
            environment = others | own | {"PYTHONPATH": str(REPOSITORY)}
            return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

        unseen = said("rank", COMMIT)
        cache = tmp_path / "home" / "hub"
        assert unseen.startswith(f"HubUnavailable model.name: the files of acme/tiny at {COMMIT} are not in the cache {cache} of this node")
        assert "this process asks no hub" in unseen
        assert "HF_" not in unseen
        own["HF_HUB_OFFLINE"] = "1"
        assert said("node", COMMIT).endswith(f"are not in the cache {cache} of this node, and HF_HUB_OFFLINE=1 forbids to ask the hub; "
                                             "fetch them before, or unset it")  # fmt: skip
        del own["HF_HUB_OFFLINE"]
        assert server.requests == []
        assert said("node", COMMIT) == f"{COMMIT} {GOOD_TOKEN}"
        asked = list(server.requests)
        assert asked
        assert said("rank", COMMIT) == f"{COMMIT} None", "the token of `hf auth login` is not read"
        assert server.requests == asked


def test_the_settings_of_a_user_are_read_where_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert replace(HubSettings.from_environment(), cache=Path()).token == "hf_mine"
