"""Inputs whose fault showed in a run only: a real one, from a folder with modules called as ours, of a model that learns to stop.

The end of a turn is learned within a few steps; evaluation and the exported model have to stop there.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cases.inputs import job, lines, model
from tests.repository import REPOSITORY
from tests.trainer.fixtures.templates import PHI3

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("training")]

RUN = {"101-end-token-run", "106-trainer-py-in-cwd"}
"""The given inputs that are looked at here."""
SHADOWS = ("trainer.py", "random.py", "json.py", "torch.py")
QUESTIONS = [{"prompt": f"What color is thing {index}?", "completion": "It is red."} for index in range(12)]


def run(job_file: Path, output: Path, folder: Path) -> dict[str, Any]:
    """Run a job from within a folder and return its report."""
    command = [sys.executable, "-P", "-m", "finetune.cli", "run", str(job_file), "--output", str(output)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "this is my trainer" not in done.stdout + done.stderr + (output / "trainer.log").read_text(encoding="utf-8")
    report: dict[str, Any] = json.loads((output / "report.json").read_text(encoding="utf-8"))
    return report


def stops_by_itself(folder: Path, question: str, answer: str) -> None:
    """The exported model, loaded as anybody loads it and told no end token, answers and ends."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tuned = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt")
    with torch.no_grad():
        tokens = tuned.generate(**prompt, max_new_tokens=30, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert len(tokens) < 30
    assert tokenizer.decode(tokens, skip_special_tokens=True).strip() == answer


def test_a_model_stops_where_it_was_taught_to_run_from_a_folder_of_modules_called_as_ours(tmp_path: Path) -> None:
    for name in SHADOWS:
        (tmp_path / name).write_text('raise RuntimeError("this is my trainer")\n')
    files = {"train.jsonl": lines(QUESTIONS[:8]), "test.jsonl": lines(QUESTIONS[8:])}
    sections = {
        "data": {"train": [{"path": "train.jsonl"}], "test": [{"path": "test.jsonl"}]},
        "method": {"full": {}},
        "training": {"maxSteps": 60, "globalBatchSize": 8, "microBatchSize": 8, "learningRate": 0.01, "maxSequenceLength": 128},
        "evaluation": {"generation": {"maxNewTokens": 30, "samples": 4}},
    }
    job_file = job(tmp_path, model(tmp_path / "model", PHI3, eos="<|endoftext|>"), files, **sections)
    report = run(job_file, tmp_path / "out", tmp_path)
    assert [sample["tuned"] for sample in report["samples"]] == ["It is red."] * len(report["samples"])
    assert report["samples"]
    stops_by_itself(tmp_path / "out" / "model" / "merged", "What color is thing 20?", "It is red.")


def test_the_given_model_stops_where_it_was_taught_to_run_from_the_given_folder(given_cases: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(given_cases / "106-trainer-py-in-cwd", folder)
    report = run(given_cases / "101-end-token-run" / "job.yaml", tmp_path / "out", folder)
    assert {sample["tuned"] for sample in report["samples"]} == {"It is red."}
    stops_by_itself(tmp_path / "out" / "model" / "merged", "What color is thing 20?", "It is red.")
