"""Every sample is checked, trained, evaluated and used for predictions, and plain transformers gives the same answers elsewhere.

With small models and few steps, in this process and without Ray; a new sample is covered as soon as its file is there. What the
files say to a cluster is tested in tests/packaging/test_samples.py.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from math import inf
from pathlib import Path
from typing import Any

import pytest

from finetune.api.tasks import TaskName
from finetune.cli.jobfile.reading import read_job_file
from tests.repository import REPOSITORY
from tests.samples.smallmodels import save_store
from tests.samples.usage import ANSWERED, NEW_TOKENS, SAMPLES, Used, use
from trainer.evaluation.comparison import ALIKE
from trainer.tasks.base import Classify, Extract, Fill, Generate, Request

NESTED = "are read as the rows, and nothing else in it"
"""Of a file that is one object, as SQuAD's are: said to every user, and meant here."""
every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store of small models under the names that the samples give, where names are looked for first; no hub."""
    folder = tmp_path_factory.mktemp("store")
    names = {read_job_file(sample).spec.model.name or "" for sample in SAMPLES}
    save_store(folder, sorted(names), [line for sample in SAMPLES for line in sample.read_text().splitlines()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUNE_MODEL_STORE", str(folder))
        patch.setenv("FINETUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        yield folder


@pytest.fixture(scope="module")
def taken(store: Path, tmp_path_factory: pytest.TempPathFactory) -> "Taken":
    return Taken(tmp_path_factory)


class Taken:
    """The samples that were taken through everything, each once."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders, self._used = folders, dict[Path, Used]()

    def __getitem__(self, sample: Path) -> Used:
        if sample not in self._used:
            self._used[sample] = use(sample, self._folders.mktemp(sample.stem))
        return self._used[sample]


@pytest.fixture(scope="module")
def reloaded(taken: Taken) -> dict[tuple[str, str], list[Any]]:
    """What another process answers with each exported model, by sample and form."""
    exported = {
        (sample.stem, entry["form"]): question(taken[sample], entry) for sample in SAMPLES for entry in taken[sample].report["exports"]
    }
    program = REPOSITORY / "tests" / "samples" / "reload.py"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "DS_ACCELERATOR": "cpu"}
    found = subprocess.run(
        [sys.executable, str(program)],
        input=json.dumps(list(exported.values())),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-4000:]
    return dict(zip(exported, json.loads(found.stdout.splitlines()[-1]), strict=True))


def question(used: Used, entry: dict[str, Any]) -> dict[str, Any]:
    """Return what the other process is asked about an exported model."""
    return {
        "form": entry["form"],
        "folder": entry["path"],
        "base": os.path.join(os.environ["FINETUNE_MODEL_STORE"], used.job.spec.model.name or ""),
        "class": used.family.auto_class,
        "settings": dict(used.family.settings),
        "questions": [QUESTIONS[type(request)](request) for request in used.requests],
    }


QUESTIONS: Mapping[type[Request], Callable[[Any], dict[str, Any]]] = {
    Generate: lambda request: {"kind": "generate", "ids": list(request.prompt), "new": NEW_TOKENS},
    Classify: lambda request: {"kind": "classify", "text": request.shown},
    Fill: lambda request: {"kind": "fill", "text": request.shown},
    Extract: lambda request: {
        "kind": "extract", "question": request.question, "context": request.context, "may_lack": request.may_lack
    },
}  # fmt: skip
"""How the other process is asked what a request asks."""


def known_to_both(answer: Any, other: Any) -> Any:
    """Return the part of a prediction that plain transformers gives too, as it is to be found there: scores up to rounding."""
    if isinstance(answer, str):
        return answer
    return {name: pytest.approx(value, abs=1e-4) if name == "scores" else value for name, value in answer.items() if name in other}


@every_sample
def test_the_rows_of_a_sample_are_good(sample: Path, taken: Taken) -> None:
    used = taken[sample]
    assert used.report["data"]["train"] > 0
    assert used.report["data"]["test"] > 0
    if used.brings_its_rows:
        assert used.report["data"]["test"] >= ANSWERED, "of fewer rows a figure has no interval"
        assert [finding for finding in used.findings if NESTED not in finding] == []


@every_sample
def test_base_and_tuned_model_are_measured_in_all_that_the_sample_asks_for(sample: Path, taken: Taken) -> None:
    used = taken[sample]
    wanted = set(used.config.evaluation.metrics_of(used.route))
    for figures in (used.report["baseline"], used.report["final"]):
        assert set(figures) == wanted
        score = figures[used.route.score]
        assert "interval" in score or score["rows"] < ANSWERED or score["noInterval"] == ALIKE
        for figure in figures.values():
            low, high = figure.get("interval", [-inf, inf])
            assert low <= figure["value"] <= high if "reason" not in figure else figure["value"] is None
    base, tuned = used.report["baseline"], used.report["final"]
    assert tuned != base or any(line["tuned"] != line["base"] for line in used.written), "training changes what the model answers"
    assert "perplexity" not in wanted or tuned["perplexity"]["value"] < base["perplexity"]["value"]


@every_sample
def test_the_model_in_use_has_the_figures_of_the_run(sample: Path, taken: Taken) -> None:
    used = taken[sample]
    final, again = ({name: figure["value"] for name, figure in report["final"].items()} for report in (used.report, used.evaluated))
    assert again == pytest.approx(final, rel=1e-4, nan_ok=True)


@every_sample
def test_the_run_has_written_what_the_model_in_use_answers(sample: Path, taken: Taken) -> None:
    used = taken[sample]
    written = {(line["input"], json.dumps(words_of(line["tuned"]))) for line in used.written}
    inputs = {line["input"] for line in used.written}
    asked = {(line["input"], json.dumps(words_of(line["answer"]))) for line in used.lines if line["input"] in inputs}
    assert asked <= written
    assert bool(asked) == (used.job.spec.task is not TaskName.LANGUAGE_MODELING), "which asks nothing of test rows"


def words_of(answer: Any) -> Any:
    """Return what an answer says, without its probabilities."""
    if isinstance(answer, dict):
        answer = answer["answer"] if "answer" in answer else answer.get("labels", [answer.get("label")])
    return sorted(answer) if isinstance(answer, list) else answer


@every_sample
def test_predictions_are_those_of_plain_transformers_in_another_process(
    sample: Path, taken: Taken, reloaded: dict[tuple[str, str], list[Any]]
) -> None:
    used = taken[sample]
    answers = [line["answer"] for line in used.lines]
    assert len(answers) == len(used.requests) > 0
    assert len({json.dumps(answer) for answer in answers}) > 1, "the test needs different answers"
    for form in used.job.spec.output.export:
        elsewhere = reloaded[sample.stem, form]
        assert elsewhere == [known_to_both(answer, other) for answer, other in zip(answers, elsewhere, strict=True)], form
