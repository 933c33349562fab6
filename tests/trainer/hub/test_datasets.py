"""Data sets of the hub are read at one commit; what goes wrong is told by field, and a silent hub does not hang the run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.data.hub import dataset_hub
from tests.trainer.model.hub_server import COMMIT, GOOD_TOKEN, NAME, Behavior

PROGRAM = """
import json, sys
from trainer.tasks.chat import CHAT
from finetune.api.sources import Source
from trainer.preflight.prepare import read_source
from finetune.api.errors import InputError
from trainer.hub.connection import HubUnavailable
for source in json.loads(sys.argv[1]):
    try:
        findings = []
        examples = list(read_source("data.train[0]", Source.model_validate({"huggingFace": source}), CHAT, findings))
        print([turn.content for example in examples for turn in example.messages], *findings)
    except (InputError, HubUnavailable) as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = tmp_path / "files"
    files.mkdir()
    (files / "train.jsonl").write_text("".join(json.dumps({"prompt": f"q{n}", "completion": f"a{n}"}) + "\n" for n in range(2)))
    return files


def read(folder: Path, behavior: Behavior, *sources: dict[str, str], token: str | None = None) -> list[str]:
    """Return what a process of its own says of each source; `datasets` reads the hub's address once, at import."""
    with dataset_hub(folder, behavior) as hub:
        own = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder.parent / "home"), "FINETUNE_HUB_TIMEOUT_SECONDS": "2"}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | own
        environment |= {"HF_TOKEN": token} if token else {}
        arguments = [sys.executable, "-c", PROGRAM, json.dumps(sources)]
        result = subprocess.run(arguments, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_an_open_set_is_read_and_its_faults_are_reported_by_field(folder: Path) -> None:
    good, pinned, split, subset, revision, missing = read(
        folder,
        Behavior.OPEN,
        {"name": NAME},
        {"name": NAME, "revision": COMMIT},
        {"name": NAME, "split": "dev"},
        {"name": NAME, "config": "other"},
        {"name": NAME, "revision": "beef"},
        {"name": "acme/nothing"},
    )
    advice = f"data.train[0]: {NAME} was read at commit {COMMIT}; give it as revision to read the same rows again"
    assert good == f"['q0', 'a0', 'q1', 'a1'] {advice}"
    assert pinned == "['q0', 'a0', 'q1', 'a1']"
    assert split.startswith("InputError data.train[0].huggingFace.split: ")
    assert "Should be one of ['train']" in split
    assert subset.startswith("InputError data.train[0].huggingFace.config: ")
    assert "Available: ['default']" in subset
    assert revision.startswith(f"InputError data.train[0].huggingFace.revision: {NAME} has no commit beef")
    assert missing.startswith("InputError data.train[0].huggingFace.name: there is no data set acme/nothing on the hub")


def test_a_gated_set_needs_a_token(folder: Path) -> None:
    (refused,) = read(folder, Behavior.GATED, {"name": NAME})
    assert refused.startswith(f"InputError data.train[0].huggingFace.name: {NAME} is gated")
    assert "without a token; accept its terms on http://" in refused
    (good,) = read(folder, Behavior.GATED, {"name": NAME, "revision": COMMIT}, token=GOOD_TOKEN)
    assert good == "['q0', 'a0', 'q1', 'a1']"


def test_a_private_set_is_reported_as_one_that_cannot_be_read(folder: Path) -> None:
    (refused,) = read(folder, Behavior.PRIVATE, {"name": NAME})
    assert refused.startswith("InputError data.train[0].huggingFace.name: there is no data set")
    assert refused.endswith("a private set needs a token in HF_TOKEN")


@pytest.mark.parametrize(("behavior", "words"), [(Behavior.SILENT, "timed out"), (Behavior.FAILING, "503")], ids=["silent", "failing"])
def test_a_hub_that_does_not_answer_is_no_fault_of_the_user(folder: Path, behavior: Behavior, words: str) -> None:
    (said,) = read(folder, behavior, {"name": NAME})
    assert said.startswith("HubUnavailable data.train[0].huggingFace: the hub at http://127.0.0.1:")
    assert words in said
    assert said.endswith("check HF_ENDPOINT and the proxy, or try again")


def test_a_broken_file_of_a_set_is_the_users_to_mend(folder: Path) -> None:
    (folder / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": \n')
    (said,) = read(folder, Behavior.OPEN, {"name": NAME})
    assert said.startswith(f"InputError data.train[0].huggingFace.name: {NAME} cannot be read: ")
