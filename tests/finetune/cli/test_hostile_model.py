"""A model's folder may hold code, and files that run code when they are read: none of it runs, and the weights beside it are trained.

Each trap leaves a file when it goes off. That it can go off is tried first, the way that careless programs load models.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.api.record import EXIT_INPUT
from tests.finetune.cli.wholerun import environment, finetune, job_file
from tests.trainer.fixtures.learning import learner_with_rows

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("training")]

PICKLES = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt", "adapter_model.bin", "global_step1/states.pt")
MODULES = (
    "configuration_trap", "modeling_trap", "tokenization_trap", "sitecustomize", "usercustomize", "__init__", "custom_generate/generate",
)  # fmt: skip
CARELESS = "import sys, transformers; transformers.AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=True)"


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self._path}'",)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows and a tiny model that learns, and traps in everything that a hub's repository may hold beside weights."""
    folder = learner_with_rows(tmp_path_factory.mktemp("hostile"), train=64, test=6)
    model, sprung = folder / "model", folder / "sprung"
    sprung.mkdir()
    for name in PICKLES:
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(pickle.dumps(Trap(sprung / Path(name).name)))
    for name in MODULES:
        (model / f"{name}.py").parent.mkdir(exist_ok=True)
        (model / f"{name}.py").write_text(f"open({str(sprung / Path(name).name)!r}, 'w')\n")
    change(model / "config.json", trust_remote_code=True, auto_map={
        "AutoConfig": "configuration_trap.Config", "AutoModelForCausalLM": "modeling_trap.Model",
    })  # fmt: skip
    change(model / "tokenizer_config.json", trust_remote_code=True, auto_map={"AutoTokenizer": ["tokenization_trap.Tokenizer", None]})
    change(model / "generation_config.json", trust_remote_code=True, custom_generate="custom_generate")
    return folder


def change(file: Path, **members: object) -> None:
    """Set members of a JSON file."""
    known = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(known | members))


def sprung(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "sprung").iterdir())


def test_nothing_in_a_models_folder_is_run_by_training_export_or_use(hostile: Path, tmp_path: Path) -> None:
    careful = environment({"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "HF_MODULES_CACHE": str(tmp_path / "modules")})
    subprocess.run([sys.executable, "-c", CARELESS, hostile / "model"], env=careful, capture_output=True, check=False)
    pickle.loads((hostile / "model" / PICKLES[0]).read_bytes())
    assert sprung(hostile) == ["configuration_trap", PICKLES[0]], "the traps work"
    for name in sprung(hostile):
        (hostile / "sprung" / name).unlink()

    job = job_file(hostile, training={"maxSteps": 4, "globalBatchSize": 8, "microBatchSize": 8, "maxSequenceLength": 128})
    trained = finetune("run", job, "--output", hostile / "out", env=careful, cwd=hostile / "model")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    used = finetune("predict", hostile / "out", "--prompt", "a", "--max-new-tokens", "2", env=careful, cwd=hostile / "model")
    assert used.returncode == 0, used.stdout + used.stderr

    assert sprung(hostile) == []
    carried = [path.name for path in (hostile / "out" / "model").rglob("*") if path.suffix in (".py", ".pt", ".pth", ".bin")]
    assert carried == [], "the tuned model brings no trap along"


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
    assert sprung(folder) == []
