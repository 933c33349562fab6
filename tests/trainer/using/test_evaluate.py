"""A model is measured on a job's test rows as a run of the job would measure it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from finetune.api.errors import InputError
from finetune.api.metrics import MetricName
from finetune.api.tasks import ModelFamily, TaskName
from finetune.api.trainconfig import TrainConfig
from finetune.api.using import ChosenModel, Evaluate
from tests.builders import train_config
from tests.trainer.fixtures.encoders import bert_tokenizer, save_encoder
from tests.trainer.fixtures.using import using
from trainer.preflight.prepare import prepare
from trainer.tasks.registry import task_of
from trainer.using.evaluate import evaluate, rows_in_tokens, with_task
from trainer.using.found import find
from trainer.using.loading import load

ROWS = [("a job", "trains"), ("what is a checkpoint?", "a run"), ("rows", "of data"), ("the controller", "starts a run")]
METRICS = [MetricName.PERPLEXITY, MetricName.BITS_PER_BYTE, MetricName.EXACT_MATCH]


def job(tmp_path: Path, **changes: Any) -> TrainConfig:
    lines = {"test": ROWS, "train": [("another", "row")]}
    for name, rows in lines.items():
        (tmp_path / f"{name}.jsonl").write_text(
            "".join(json.dumps({"prompt": given, "completion": answer}) + "\n" for given, answer in rows)
        )
    data = {name: [{"path": str(tmp_path / f"{name}.jsonl")}] for name in lines}
    evaluation = {"metrics": METRICS, "generation": {"maxNewTokens": 6}}
    return train_config(data=data, evaluation=evaluation, **changes)


def measured(
    folder: Path, tmp_path: Path, config: TrainConfig | None = None, said: list[str] | None = None, **options: Any
) -> dict[str, Any]:
    """Return the figures that are written; `said` gets what is remarked on the rows."""
    said = list[str]() if said is None else said
    (tmp_path / "rows").mkdir(exist_ok=True)
    wanted = Evaluate(model=ChosenModel(name=str(folder)), job=config or job(tmp_path), output=tmp_path / "figures.json", **options)
    found = find(wanted.model, base=wanted.base)
    dataset = prepare(wanted.job, tmp_path / "rows")
    loaded = load(found, with_task(wanted, found, lambda _: None), lambda _: None, base=wanted.base, seed=wanted.job.training.seed)
    evaluate(wanted, loaded, found, rows_in_tokens(wanted, dataset, loaded, found, said.append), lambda _: None)
    report: dict[str, Any] = json.loads((tmp_path / "figures.json").read_text())
    return report


def perplexity(folder: Path, tokenizer_of: Path) -> float:
    """Return the perplexity of the answers by one plain forward pass for each row."""
    from transformers import AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(tokenizer_of), AutoModelForCausalLM.from_pretrained(folder)
    nll = tokens = 0.0
    for given, answer in ROWS:
        asked = [{"role": "user", "content": given}]
        before = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": answer}], tokenize=False).rstrip("\n")
        parts = (before, whole.removeprefix(before))  # no token has words of both
        start, said = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in parts)
        ids = [*start, *said]
        logits = model(torch.tensor([ids])).logits[0].detach().double().log_softmax(-1)
        for place in range(len(start), len(ids)):
            nll -= float(logits[place - 1, ids[place]])
            tokens += 1
    return math.exp(nll / tokens)


def test_the_figures_are_those_of_plain_passes_over_each_row(run: Path, trained: Path, tmp_path: Path) -> None:
    report = measured(run, tmp_path, base=True)

    merged = run / "model" / "merged"
    assert report["final"]["perplexity"]["value"] == pytest.approx(perplexity(merged, merged), rel=1e-5)
    assert report["baseline"]["perplexity"]["value"] == pytest.approx(perplexity(trained.parent / "base", merged), rel=1e-5)
    assert report["change"].keys() == set(METRICS)
    assert report["rows"] == {"evaluated": 4, "generated": 4}


def test_a_model_is_measured_alone_as_beside_its_base(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both, alone = measured(run, tmp_path, base=True), measured(run, tmp_path)

    assert alone["final"]["perplexity"]["value"] == pytest.approx(both["final"]["perplexity"]["value"], rel=1e-5)
    assert "baseline" not in alone
    table, single = capsys.readouterr().out.split("Perplexity")[1:]
    assert "▼" in table or "▲" in table
    assert "▼" not in single


def test_any_model_is_measured_for_the_job_s_task(saved_model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    wanted = Evaluate(model=ChosenModel(name=str(saved_model)), job=job(tmp_path))

    assert with_task(wanted, find(wanted.model), said.append).task is TaskName.CHAT
    assert said == []
    assert measured(saved_model, tmp_path)["final"]["perplexity"]["value"] > 1


def test_a_model_for_another_task_is_remarked(run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    wanted = Evaluate(model=ChosenModel(name=str(run)), job=job(tmp_path, task="text-generation"))

    assert with_task(wanted, find(wanted.model), said.append).task is TaskName.TEXT_GENERATION
    assert said == ["the model was trained for chat; the job's rows are for text-generation"]


def test_only_the_first_rows_are_measured_where_that_is_asked_for(run: Path, tmp_path: Path) -> None:
    assert measured(run, tmp_path, limit=2)["rows"] == {"evaluated": 2, "generated": 2}


def test_the_metric_that_a_job_is_judged_by_is_measured_though_it_is_not_listed(run: Path, tmp_path: Path) -> None:
    config = job(tmp_path)
    evaluation = config.evaluation.changed(metrics=[MetricName.EXACT_MATCH], best_metric=MetricName.CHRF)

    report = measured(run, tmp_path, config.changed(evaluation=evaluation))

    assert MetricName.CHRF in report["final"]
    assert report["judgedBy"] == MetricName.CHRF


def test_rows_longer_than_the_model_reads_are_remarked(run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    config = job(tmp_path, training__maxSequenceLength=4096)
    (tmp_path / "test.jsonl").write_text(json.dumps({"prompt": "a job " * 300, "completion": "trains"}))

    measured(run, tmp_path, config, said)

    assert any(line.startswith("finding: training.maxSequenceLength: allows rows of") for line in said)


def test_what_a_model_was_trained_to_know_is_kept_though_it_is_nothing(tmp_path: Path) -> None:
    task = task_of(TaskName.QUESTION_ANSWERING, ModelFamily.ENCODER)
    folder = save_encoder(tmp_path / "model", "AutoModelForQuestionAnswering", tokenizer=bert_tokenizer())
    (folder / "base-weights.json").write_text(json.dumps({"task": "question-answering", "known": []}))
    for name, question, answers in (("train", "Who?", []), ("test", "What?", ["river"])):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"question": question, "context": f"{name} river", "answers": answers}))
    config = train_config(task="question-answering", data={name: [{"path": str(tmp_path / f"{name}.jsonl")}] for name in ("train", "test")})
    wanted = Evaluate(model=ChosenModel(name=str(folder)), job=config)
    found, loaded = find(wanted.model), using(folder)
    (tmp_path / "rows").mkdir()

    given = rows_in_tokens(wanted, prepare(config, tmp_path / "rows"), loaded, found, lambda _: None)

    assert given.task.known == () != task.knowing(prepare(config, tmp_path / "rows").train).known


def test_rows_of_classes_that_the_model_was_not_trained_for_are_refused_before_they_are_measured(tmp_path: Path) -> None:
    names = {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}
    folder = save_encoder(tmp_path / "model", "AutoModelForSequenceClassification", tokenizer=bert_tokenizer(), **names)
    known = ["one label", "a", "b"]
    (folder / "base-weights.json").write_text(json.dumps({"task": "text-classification", "known": known}))
    for name, labels in (("train", "abc"), ("test", "bcc")):
        (tmp_path / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": f"{name} {number}", "label": label}) + "\n" for number, label in enumerate(labels))
        )
    config = train_config(
        task="text-classification", data={name: [{"path": str(tmp_path / f"{name}.jsonl")}] for name in ("train", "test")}
    )
    wanted = Evaluate(model=ChosenModel(name=str(folder)), job=config)
    (tmp_path / "rows").mkdir()
    dataset, loaded, found = prepare(config, tmp_path / "rows"), using(folder), find(wanted.model)

    with pytest.raises(InputError) as refused:
        rows_in_tokens(wanted, dataset, loaded, found, lambda _: None)

    assert refused.value.problem.startswith(
        "2 rows have classes that the model was not trained for: 'c' (the first: data.test[0] line 2; it"
    )
    assert refused.value.fix == "leave the rows out"


def test_an_encoder_that_was_not_trained_here_is_measured_as_a_run_of_the_job_measures_it(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", "AutoModelForMaskedLM", tokenizer=bert_tokenizer(), max_position_embeddings=64)
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": f"A {name} river rises in the mountains. " * 6}))
    data = {name: [{"path": str(tmp_path / f"{name}.jsonl")}] for name in ("train", "test")}
    config = train_config(task="language-modeling", data=data, training__maxSequenceLength=64)
    wanted = Evaluate(model=ChosenModel(name=str(folder)), job=config)
    (tmp_path / "rows").mkdir()
    found, dataset = find(wanted.model), prepare(config, tmp_path / "rows")

    given = rows_in_tokens(wanted, dataset, using(folder, task=TaskName.LANGUAGE_MODELING), found, lambda _: None)

    assert given.task == task_of(TaskName.LANGUAGE_MODELING, ModelFamily.ENCODER).fitting(given.tokenizer)
    assert len(given.rows) > 1
    assert measured(folder, tmp_path, config)["final"]["maskedLoss"]["value"] > 0
    longer = config.changed(training=config.training.changed(max_sequence_length=100))
    with pytest.raises(InputError, match=r"training\.maxSequenceLength: allows rows of 100 tokens, but the model has positions for 64"):
        measured(folder, tmp_path, longer)


def test_a_job_without_test_rows_is_refused(run: Path, tmp_path: Path) -> None:
    config = job(tmp_path)
    without = config.changed(data=config.data.changed(test=None))

    with pytest.raises(
        InputError, match=r"^data.test: the job has no test rows to measure a model on; give data.test or data.testFraction"
    ):
        measured(run, tmp_path, without)
