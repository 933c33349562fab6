"""`finetune run` with model and rows of a hub: a program that fetches asks it, and nothing that trains, measures or writes does."""

import json
import os
import shutil
from pathlib import Path

import pytest

from finetune.system.hubaccess import CLOSED, TOKENS
from tests.finetune.cli.wholerun import environment, finetune, job_file
from tests.repository import REPOSITORY
from tests.trainer.fixtures.learning import learner_with_rows
from tests.trainer.hub.watched import WatchedHub, WatchingHandler, watched_hub
from tests.trainer.model.hub_server import COMMIT, GOOD_TOKEN, NAME
from trainer.hub.fetching import COMMAND
from trainer.storage.digest import sha256_of

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("training")]
LATER = "f" * 40


# In every Python program of the run: whichever imports peft, as ranks and rehearsals do, asks the hub for a file, as a library might.
CURIOUS = """
import importlib.abc, json, os, sys

class Curious(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "peft" and "transformers" in sys.modules:  # the command only looks whether it is installed
            sys.meta_path.remove(self)
            from huggingface_hub import hf_hub_download
            found = {name: value for name, value in os.environ.items() if name.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
            with open(os.path.join(os.environ["CURIOUS_FOLDER"], str(os.getpid())), "w") as file:
                json.dump(found | {"program": sys.orig_argv}, file)
            try:
                hf_hub_download("acme/tiny", "custom_generate/generate.py")
            except Exception:
                pass
        return None

sys.meta_path.insert(0, Curious())
"""


class MovingHandler(WatchingHandler):
    """The model's repository gets another commit as soon as its files were listed."""

    def describe(self, rest: str) -> None:
        super().describe(rest)
        if not self.of_rows and "/tree/" in rest:
            self.server.main = LATER


def of_a_new_user(folder: Path, hub: WatchedHub) -> dict[str, str]:
    """Return the environment of a user who has a token, and has fetched nothing yet."""
    cleared = {name for name in os.environ if name.startswith(("HF_", "TRANSFORMERS_"))}
    own = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": GOOD_TOKEN, "HF_HOME": str(folder / "home")}
    own |= {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(folder / "site")]), "CURIOUS_FOLDER": str(folder / "asked")}
    return {name: value for name, value in environment().items() if name not in cleared} | own


@pytest.mark.parametrize(
    ("workers", "control_runs"),
    [
        pytest.param(1, ["weightDecay"], id="in one program"),
        pytest.param(2, None, id="two ranks", marks=pytest.mark.slow),
    ],
)
def test_after_the_fetch_nothing_asks_the_hub(tmp_path: Path, workers: int, control_runs: list[str] | None) -> None:
    folder, later = learner_with_rows(tmp_path, train=64), learner_with_rows(tmp_path / "later", train=8, width=64)
    rows = tmp_path / "rows"
    for each in (rows, folder / "site", folder / "asked"):
        each.mkdir()
    (folder / "site" / "sitecustomize.py").write_text(CURIOUS)
    shutil.move(folder / "train.jsonl", rows / "train.jsonl")
    with watched_hub(folder / "model", rows) as hub:
        hub.RequestHandlerClass = MovingHandler
        hub.history[LATER] = later / "model"
        path = job_file(
            folder,
            model={"name": NAME},
            data={"train": [{"huggingFace": {"name": NAME}}], "validationFraction": 0.1, "testFraction": 0.1},
            training={"maxSteps": 12, "globalBatchSize": 8, "microBatchSize": 4, "learningRate": 0.01, "maxSequenceLength": 128},
            evaluation={"everySteps": 6, "generation": {"maxNewTokens": 8, "samples": 4}, "ablations": control_runs},
            regularization={"weightDecay": 0.1},
            distributed={"workers": workers},
            checkpoint={"everySteps": 6, "keep": 1},
        )
        done = finetune("run", path, "--output", folder / "out", "--timings", env=of_a_new_user(folder, hub))
        assert done.returncode == 0, done.stdout + done.stderr
        curious = [json.loads(path.read_text()) for path in (folder / "asked").iterdir()]
        rehearsals = [environ for environ in curious if "trainer.preflight.rehearsing" in environ["program"]]
        ranks = len(curious) - len(rehearsals)
        # A model that was rehearsed before is not rehearsed again.
        assert ranks == workers, [environ["program"] for environ in curious]
        for environ in curious:
            assert {name: environ.get(name) for name in (*CLOSED, *TOKENS)} == {**CLOSED, **dict.fromkeys(TOKENS)}, environ["program"]
        others = [asked for asked in hub.askers if asked[1][1:] != list(COMMAND[1:])]
        assert others == []
        kinds = {
            kind: [request for request, _ in hub.askers if kind in request] for kind in ("model.safetensors", "train.jsonl", "/datasets/")
        }
        assert all(kinds.values()), "the hub was asked for model and rows"
        assert len([request for request in kinds["model.safetensors"] if request.startswith("GET")]) == 1, "once"
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["model"]["revision"] == COMMIT
    assert report["model"]["digest"] == f"sha256:{sha256_of(hub.folder / 'model.safetensors')}"
    assert "fetch" in {stage["stage"] for stage in report["timings"]["stages"]}
    assert GOOD_TOKEN not in "".join(path.read_text(errors="replace") for path in (folder / "out").rglob("*") if path.is_file())
