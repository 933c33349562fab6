"""A closed process has no token and is refused the hub by its own libraries; what it starts to fetch has both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.system import hubaccess
from finetune.system.hubaccess import (
    CLOSED,
    TOKENS,
    close,
    close_but_for_fetching,
    closed_environment,
    environment_for_fetching,
    kept_tokens,
)
from tests.repository import REPOSITORY
from tests.trainer.fixtures.causal import save_tiny_model
from tests.trainer.hub.watched import watched_hub
from tests.trainer.model.hub_server import GOOD_TOKEN, Behavior

# What the libraries of a rank do by a name: each line asks the hub where it may.
PROGRAM = """
import json, sys, time, warnings
if sys.argv[1] == "closed":
    from finetune.system.hubaccess import close
    close()
warnings.simplefilter("ignore")
import datasets, huggingface_hub, peft, transformers
from huggingface_hub.utils import _telemetry, send_telemetry
from transformers.utils.hub import has_file, list_repo_templates

name = "acme/tiny"
attempts = {
    "tokenizer": lambda: transformers.AutoTokenizer.from_pretrained(name),
    "chat templates": lambda: list_repo_templates(name, local_files_only=False),
    "model": lambda: transformers.AutoModelForCausalLM.from_pretrained(name),
    "generation config": lambda: transformers.GenerationConfig.from_pretrained(name),
    "custom_generate": lambda: has_file(name, "custom_generate/generate.py"),
    "adapter": lambda: peft.PeftConfig.from_pretrained(name),
    "rows": lambda: datasets.load_dataset(name),
    "files": lambda: huggingface_hub.snapshot_download(name),
    "telemetry": lambda: send_telemetry("finetune-test"),
}
said = {}
for what, attempt in attempts.items():
    try:
        attempt()
        said[what] = "done"
    except Exception as error:
        said[what] = type(error).__name__
deadline = time.monotonic() + 30
while _telemetry._TELEMETRY_QUEUE.unfinished_tasks and time.monotonic() < deadline:
    time.sleep(0.05)  # it is sent by a thread
print(json.dumps({"said": said, "offline": [huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_DATASETS_OFFLINE]}))
"""


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubaccess, "_kept", None)
    for name in (*CLOSED, *TOKENS):
        monkeypatch.delenv(name, raising=False)


def test_a_trainer_has_no_token_and_what_it_starts_to_fetch_has_all_that_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "0")
    before = dict(os.environ)
    close_but_for_fetching()
    close_but_for_fetching()
    assert {name: os.environ.get(name) for name in (*CLOSED, *TOKENS)} == {**CLOSED, **dict.fromkeys(TOKENS)}
    assert environment_for_fetching() == {**before, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
    assert kept_tokens() == {"HF_TOKEN": "hf_mine"}
    monkeypatch.undo()


def test_a_user_who_is_offline_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    close_but_for_fetching()
    environment = environment_for_fetching()
    assert environment is not None
    assert environment["HF_HUB_OFFLINE"] == "1"


def test_a_rank_has_nothing_to_fetch_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    close()
    assert "HF_TOKEN" not in os.environ
    assert environment_for_fetching() is None
    assert kept_tokens() == {}


def test_a_process_that_would_inherit_a_token_gets_an_empty_one() -> None:
    assert closed_environment()["HF_TOKEN"] == ""
    assert CLOSED.items() < closed_environment().items()


def test_libraries_that_are_imported_in_a_closed_process_ask_nobody(tmp_path: Path) -> None:
    model, rows = save_tiny_model(tmp_path / "model"), tmp_path / "rows"
    rows.mkdir()
    (rows / "train.jsonl").write_text('{"prompt": "q", "completion": "a"}\n')
    asked, said = {}, {}
    for state in ("open", "closed"):
        with watched_hub(model, rows, Behavior.OPEN) as hub:
            own = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / state), "HF_TOKEN": GOOD_TOKEN, "PYTHONPATH": str(REPOSITORY)}
            environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | own
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, state], env=environment, capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, done.stderr
            said[state], asked[state] = json.loads(done.stdout.splitlines()[-1]), [request for request, _ in hub.askers]
    assert said["open"]["offline"] == [False, False], "the test proves something only where an open process reaches this hub"
    assert {name: said["open"]["said"][name] for name in ("tokenizer", "model", "files")} == dict.fromkeys(
        ("tokenizer", "model", "files"), "done"
    )
    for part in ("tokenizer_config.json", "model.safetensors", "generation_config.json", "custom_generate", "adapter_config.json",
                 "additional_chat_templates", "/datasets/", "telemetry"):  # fmt: skip
        assert any(part in request for request in asked["open"]), (part, asked["open"])
    assert said["closed"]["offline"] == [True, True]
    assert asked["closed"] == []
