"""A model's folder may hold code, and files that run code when they are read: none of it runs, and the weights beside it are trained.

Each trap leaves a file when it goes off. That it can go off is tried first, the way that careless programs load models.
"""

import json
import shutil
from pathlib import Path

import pytest

from finetune.api.record import EXIT_INPUT
from tests.finetune.cli.traps import WORKING, Traps, code_in
from tests.finetune.cli.wholerun import environment, finetune, job_file
from tests.trainer.fixtures.learning import learner_with_rows

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("training")]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows and a tiny model that learns, and traps in everything that a hub's repository may hold beside weights."""
    folder = learner_with_rows(tmp_path_factory.mktemp("hostile"), train=64, test=6)
    (folder / "sprung").mkdir()
    traps(folder).lay(folder / "model")
    return folder


def traps(folder: Path) -> Traps:
    return Traps(folder / "sprung")


def test_nothing_in_a_models_folder_is_run_by_training_export_or_use(hostile: Path, tmp_path: Path) -> None:
    careful = environment({"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "HF_MODULES_CACHE": str(tmp_path / "modules")})
    assert traps(hostile).try_out(hostile / "model", careful) >= WORKING, "the traps work"

    job = job_file(
        hostile,
        training={"maxSteps": 4, "globalBatchSize": 8, "microBatchSize": 8, "maxSequenceLength": 128},
        output={"export": ["adapter", "merged"]},
    )
    trained = finetune("run", job, "--output", hostile / "out", env=careful, cwd=hostile / "model")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    used = finetune("predict", hostile / "out", "--prompt", "a", "--max-new-tokens", "2", env=careful, cwd=hostile / "model")
    assert used.returncode == 0, used.stdout + used.stderr

    assert traps(hostile).sprung() == []
    assert code_in(hostile / "out" / "model") == [], "the tuned model brings no trap along"


def test_a_chat_template_cannot_leave_its_sandbox(hostile: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(hostile, tmp_path / "copy"))
    (folder / "sprung").rename(folder / "gone")
    (folder / "sprung").mkdir()
    escape = "{{ cycler.__init__.__globals__.os.system('touch " + str(folder / "sprung" / "template") + "') }}"
    (folder / "model" / "chat_template.jinja").write_text(escape + "{% for m in messages %}{{ m.content }}{% endfor %}")
    for side, rows in (("train", 20), ("test", 5)):
        talks = ([{"role": "user", "content": f"{side} {row}"}, {"role": "assistant", "content": "b"}] for row in range(rows))
        (folder / f"{side}.jsonl").write_text("".join(f"{json.dumps({'messages': talk})}\n" for talk in talks))

    checked = finetune("check", job_file(folder, task="chat"), cwd=folder)

    assert checked.returncode == EXIT_INPUT, checked.stdout + checked.stderr
    assert "template" in checked.stdout + checked.stderr
    assert traps(folder).sprung() == []
