"""`finetune evaluate` starts the program that measures, with the job as this machine would run it."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.api.errors import BadInputError
from finetune.api.using import Evaluate
from finetune.cli.command import command_parser
from finetune.cli.evaluate import evaluate
from finetune.cli.local.machine import Machine
from tests.finetune.cli.builders import CONFIG_MAP, job, write
from tests.trainer.fixtures.causal import save_tiny_model

PROGRAM = "import sys; print(sys.argv[2]); print('a complaint', file=sys.stderr); sys.exit(5)"
COMMAND = (sys.executable, "-c", PROGRAM)


def options(*given: str) -> argparse.Namespace:
    return command_parser().parse_args(["evaluate", *given])


def test_the_program_is_given_the_job_as_this_machine_would_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    write(tmp_path, CONFIG_MAP, job())
    monkeypatch.chdir(tmp_path)

    given = options("--model", "run", "job.yaml", "--output", "figures.json", "--limit", "5", "--base")
    code = evaluate(given, {}, Machine(2, 0), COMMAND)

    out, err = capfd.readouterr()
    request = Evaluate.model_validate_json(out)
    assert (code, err) == (5, "a complaint\n")
    assert (request.model.name, request.model.field, request.model.task) == (str(tmp_path / "run"), "--model", None)
    assert (request.output, request.limit, request.base) == (tmp_path / "figures.json", 5, True)
    assert request.job.job.name == "support-bot"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.yaml", "run"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--model", "/none/such", "job.yaml"], r"^--model: there is no folder /none/such"),
        (["--model", ".", "none.yaml"], r"none.yaml: there is no such file"),
        (["--model", ".", "job.yaml", "--output", "none/figures.json"], r"^--output: there is no folder .*none"),
    ],
)
def test_what_is_not_there_is_refused_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], words: str) -> None:
    write(tmp_path, CONFIG_MAP, job())
    monkeypatch.chdir(tmp_path)

    with pytest.raises(BadInputError, match=words):
        evaluate(options(*given), {}, Machine(2, 0), COMMAND)


def test_a_model_is_measured_by_the_command(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"prompt": f"row {n}", "completion": f"a job {n}"}) + "\n" for n in range(20)))
    rows = {"train": [{"path": "rows.jsonl"}], "testFraction": 0.4}
    path = write(tmp_path, job(spec__data=rows, spec__evaluation={"generation": {"maxNewTokens": 5}}))
    command = [sys.executable, "-m", "finetune.cli", "evaluate", "--model", str(model), str(path), "--output", str(tmp_path / "out.json")]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "Perplexity (lower is better)" in done.stdout
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["rows"]["evaluated"] == figures["final"]["perplexity"]["rows"] > 0


def test_the_task_is_the_job_s_and_cannot_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options("--model", "run", "job.yaml", "--task", "chat")

    assert "unrecognized arguments: --task" in capsys.readouterr().err
