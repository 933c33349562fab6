"""What `finetune init` writes passes the trainer's own checks as it is, for each kind of file: in this process, with small models."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune.cli.command import run_command
from finetune.cli.init import ENCODER, WRITER
from finetune.cli.jobfile.reading import read_job_file
from finetune.cli.local.configuration import Folders, plan_local_run
from finetune.cli.local.machine import Machine
from tests.samples.smallmodels import save_store
from trainer.data.datafolder import DataFolder
from trainer.preflight.inputs import check_inputs

ROWS = 60
THINGS = ("ship", "train", "lamp", "bridge", "clock", "garden", "letter")


def said(number: int) -> str:
    return f"the {THINGS[number % len(THINGS)]} of house {number} was {'kind and clean' if number % 2 else 'cold and broken'}"


def question(number: int) -> dict[str, Any]:
    return {
        "question": f"which house is it, {number}?",
        "answers": [{"text": f"house {number}", "answer_start": said(number).index("house")}],
    }


FILES: dict[str, Any] = {
    "chat": [{"prompt": said(number), "completion": f"I see {number}."} for number in range(ROWS)],
    "messages": [
        {"messages": [{"role": "user", "content": said(number)}, {"role": "assistant", "content": f"Yes {number}."}]}
        for number in range(ROWS)
    ],
    "classes": [{"text": said(number), "label": ("bad", "good")[number % 2]} for number in range(ROWS)],
    "labels": [{"text": said(number), "labels": ["even", "small"][: number % 3]} for number in range(ROWS)],
    "stars": [{"review": said(number), "stars": number % 2} for number in range(ROWS)],
    "flags": [{"post": said(number), "spam": number % 2 == 0} for number in range(ROWS)],
    "summaries": [
        {"document": said(number), "summary": f"a {THINGS[number % 7]}, {number}", "topic": ("law", "news")[number % 2]}
        for number in range(ROWS)
    ],
    "questions": [{"context": said(number), **question(number)} for number in range(ROWS)],
    "written answers": [{"context": said(number), "question": f"which, {number}?", "answer": f"none, {number}"} for number in range(ROWS)],
    "nested": {
        "data": [{"title": "a", "paragraphs": [{"context": said(number), "qas": [question(number)]}]} for number in range(ROWS)],
        "version": "2",
    },
    "mapping": [{"translation": {"en": said(number), "de": f"Haus {number}"}} for number in range(ROWS)],
    "languages": [{"english": said(number), "german": f"Haus {number}"} for number in range(ROWS)],
    "source": [{"source": said(number), "target": f"Haus {number}"} for number in range(ROWS)],
    "transcripts": [{"hypothesis": said(number), "reference": f"{said(number)}."} for number in range(ROWS)],
    "text": [{"text": said(number)} for number in range(ROWS)],
}
TASK_OF = {
    "chat": "chat", "messages": "chat", "classes": "text-classification", "labels": "text-classification", "stars": "text-classification",
    "flags": "text-classification", "summaries": "chat",
    "questions": "question-answering", "written answers": "question-answering", "nested": "question-answering", "mapping": "translation",
    "languages": "translation", "source": "translation", "transcripts": "transcript-correction", "text": "language-modeling",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A store of small models under the names that jobs get; no hub."""
    folder = tmp_path_factory.mktemp("store")
    save_store(folder, [ENCODER.model, WRITER.model], [json.dumps(rows) for rows in FILES.values()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUNE_MODEL_STORE", str(folder))
        patch.setenv("FINETUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        yield


@pytest.mark.parametrize("kind", FILES)
def test_the_job_passes_the_check_as_it_is(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.json").write_text(json.dumps(FILES[kind]))
    assert run_command(["init", "rows.json"]) == 0
    run = plan_local_run(read_job_file(Path("job.yaml")), Folders(tmp_path / "run"), {}, Machine(cpus=1, gpus=0))
    inputs = check_inputs(run.config, DataFolder(tmp_path / "data", tmp_path / "data" / "start-0"), rehearse_here=True)
    assert inputs.task.facts.name == TASK_OF[kind]
    assert sum(map(len, inputs.dataset.sides().values())) >= ROWS * 0.6, "rows that were meant to be learned were left out"
