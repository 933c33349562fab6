"""Wrong input is told before anything slow starts, in words that name the field and the fix."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.tiny import tiny_model, write_rows
from trainer.config.train import TrainConfig
from trainer.data import prepare
from trainer.inputs import Inputs

REPOSITORY = Path(__file__).parents[2]


def config(folder: Path, **changes) -> Path:
    content = {
        "job": {"name": "tiny"}, "task": "chat", "model": {"path": str(folder / "model")},
        "data": {"train": [{"path": str(folder / "train.jsonl")}]}, "method": {"lora": {}}, "training": {"epochs": 1},
        "output": {"directory": str(folder / "out")}, "progress": {"file": str(folder / "progress.json")},
    } | changes  # fmt: skip
    path = folder / "config.json"
    path.write_text(json.dumps(content))
    return path


def trainer(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "trainer", "--config", str(path), *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def outcome(folder: Path) -> dict:
    return json.loads((folder / "progress.json").read_text())["outcome"]


def broken_line(folder: Path) -> dict:
    (folder / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": \n')
    return {}


def missing_column(folder: Path) -> dict:
    (folder / "train.jsonl").write_text('{"question": "a", "completion": "b"}\n')
    return {}


def empty_set(folder: Path) -> dict:
    (folder / "train.jsonl").write_text("")
    return {}


def no_weights(folder: Path) -> dict:
    write_rows(folder / "train.jsonl", 4)
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"model_type": "llama"}')
    return {}


def no_model(folder: Path) -> dict:
    write_rows(folder / "train.jsonl", 4)
    return {"model": {"path": str(folder / "elsewhere")}}


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        pytest.param(broken_line, ["data.train[0]", "line 2"], id="a broken line"),
        pytest.param(missing_column, ["data.train[0]", "prompt", "question"], id="a missing column"),
        pytest.param(empty_set, ["data.train[0]"], id="an empty set"),
        pytest.param(no_weights, ["model.path", "weights"], id="a model without weights"),
        pytest.param(no_model, ["model.path", "elsewhere"], id="no model at all"),
    ],
)
def test_bad_input_ends_the_run_with_code_2_and_a_last_record(tmp_path: Path, break_it, words: list[str]) -> None:
    done = trainer(config(tmp_path, **break_it(tmp_path)))
    assert done.returncode == 2, done.stderr
    assert outcome(tmp_path)["result"] == "InputInvalid"
    for word in words:
        assert word in outcome(tmp_path)["message"]
    assert not (tmp_path / "out").exists(), "nothing may be written for a run that cannot be"


def test_bad_rows_are_told_without_importing_torch_or_ray(tmp_path: Path) -> None:
    broken_line(tmp_path)
    program = (
        "import sys; from trainer.__main__ import main; code = main(sys.argv[1:]); "
        "print(code, sorted({'torch', 'ray', 'transformers'} & set(sys.modules)))"
    )
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", program, "--config", str(config(tmp_path))], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "2 []"


def test_check_tells_what_would_be_trained_and_writes_nothing(tmp_path: Path) -> None:
    tiny_model(tmp_path / "model")
    write_rows(tmp_path / "train.jsonl", 40)
    done = trainer(config(tmp_path, training={"epochs": 2, "globalBatchSize": 8}), "--check")
    assert done.returncode == 0, done.stderr
    assert "40 train, 0 validation, 0 test" in done.stdout
    assert "10 steps of 8 rows" in done.stdout
    assert not (tmp_path / "out").exists()


def test_a_configuration_that_is_not_one_ends_with_code_2(tmp_path: Path) -> None:
    path = config(tmp_path, training={"epochs": -1})
    done = trainer(path)
    assert done.returncode == 2
    assert "training.epochs" in done.stderr


def test_a_completion_with_another_indent_is_another_data_set(tmp_path: Path) -> None:
    """Else a run would go on with rows that it did not begin with, or pass for finished."""

    def digests(completion: str) -> dict[str, str]:
        (tmp_path / "train.jsonl").write_text(json.dumps({"prompt": "write it", "completion": completion}) + "\n")
        wanted = TrainConfig.model_validate(json.loads(config(tmp_path).read_text()))
        return Inputs(prepare(wanted), located=None, tokenizer=None, findings=()).digests(wanted)

    first = digests("if a:\n    b()")
    assert digests("if a:\n    b()") == first
    changed = digests("if a:\n        b()")
    assert {field for field in first if first[field] != changed[field]} == {"data.train"}
