"""Invalid input is reported before anything slow starts, with the field and the fix."""

import json
import math
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import InputError
from finetune.api.sources import ModelSource
from tests.builders import train_config, wire_config
from tests.repository import REPOSITORY
from tests.trainer.fixtures.causal import tiny_learner
from tests.trainer.fixtures.encoders import bert_tokenizer, save_encoder
from tests.trainer.fixtures.examples import tokenize
from tests.trainer.fixtures.rows import write_rows
from tests.trainer.fixtures.stored import data_folder, prepared
from trainer.data.datafolder import DataFolder
from trainer.data.rows import Dataset
from trainer.model.location import LocatedModel, ModelKind
from trainer.model.weights import weights_digest
from trainer.preflight.inputs import Inputs, check_inputs
from trainer.storage.ownership import TIME_FIELD, Ownership
from trainer.tasks.chat import CHAT
from trainer.text.pieces import pieces_of

HUB_MODEL = LocatedModel("org/model", "model.name", Path("/nowhere"), ModelKind.FOLDER, "hub", ModelSource(name="org/model"), "c" * 40)


def config(folder: Path, **changes) -> Path:
    """Write a configuration, valid or not, and return its path."""
    path = folder / "config.json"
    path.write_text(json.dumps(wire_config(folder, progress__file=str(folder / "progress.json"), **changes)))
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
    (folder / "train.jsonl").write_text('{"body": "a", "completion": "b"}\n')
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
        pytest.param(missing_column, ["data.train[0]", "prompt", "body"], id="a missing column"),
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


def test_bad_rows_are_reported_without_importing_torch_or_ray(tmp_path: Path) -> None:
    """By a check. A run imports what it starts meanwhile: torch for a rank in the same program, Ray for two elsewhere."""
    broken_line(tmp_path)
    program = (
        "import sys; from trainer.__main__ import main; code = main(sys.argv[1:]); "
        "print(code, sorted({'torch', 'ray', 'transformers'} & set(sys.modules)))"
    )
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", program, "--check", "--config", str(config(tmp_path, workers__workers=2))],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "2 []"


def test_check_lists_what_would_be_trained_and_writes_nothing(tmp_path: Path) -> None:
    tiny_learner(tmp_path / "model")
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
        wanted = train_config(tmp_path)
        return Inputs(CHAT, prepared(wanted), HUB_MODEL, tokenizer=None, findings=()).digests(wanted)

    first = digests("if a:\n    b()")
    assert digests("if a:\n    b()") == first
    changed = digests("if a:\n        b()")
    assert {field for field in first if first[field] != changed[field]} == {"data.train"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a tiny model and rows that suit it."""
    tiny_learner(tmp_path / "model")
    write_rows(tmp_path / "train.jsonl", 40)
    return tmp_path


def checked(folder: Path, **changes: Any) -> Inputs:
    return check_inputs(train_config(folder, **changes), data_folder(folder), rehearse_here=True)


BLOOM = {"model_type": "bloom", "hidden_size": 32, "n_layer": 1, "n_head": 4, "vocab_size": 263}
GPT2 = {"model_type": "gpt2", "n_positions": 32, "n_embd": 32, "n_layer": 1, "n_head": 4, "vocab_size": 263}


@pytest.mark.parametrize(
    ("changes", "model", "field"),
    [
        pytest.param({"method": {"lora": {"targetModules": ["q_proj", "v_projj"]}}}, None, "method.lora.targetModules[1]", id="a target"),
        pytest.param({}, GPT2, "training.maxSequenceLength", id="rows beyond the context"),
        pytest.param({"regularization": {"dropout": 0.1}}, BLOOM, "regularization.dropout", id="dropout that cannot act"),
    ],
)
def test_what_does_not_suit_the_model_is_reported_before_any_weight_is_loaded(
    folder: Path, changes: dict[str, Any], model: dict[str, Any] | None, field: str
) -> None:
    if model is not None:
        (folder / "model" / "config.json").write_text(json.dumps(model))
    with pytest.raises(InputError) as refused:
        checked(folder, **changes)
    assert refused.value.field == field


def of_texts(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return a job on plain texts, some of them general ones that a budget is measured on."""
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": f"the valve {number} is open"}) + "\n" for number in range(40)))
    (folder / "general.jsonl").write_text("".join(json.dumps({"text": f"the cat {number} is here"}) + "\n" for number in range(9)))
    section = {"generalEvaluation": [{"path": str(folder / "general.jsonl")}]} | changes.pop("domainAdaptation", {})
    return {
        "task": "language-modeling", "data": {"train": [{"path": str(folder / "texts.jsonl")}]}, "training__maxSequenceLength": 32,
        "domainAdaptation": section, **changes,
    }  # fmt: skip


BUDGET = {"maxGeneralPerplexityIncreasePercent": 10}


def test_a_budget_above_a_base_that_guesses_is_refused(folder: Path) -> None:
    save_encoder(folder / "bare")
    save_encoder(folder / "masked", "AutoModelForMaskedLM")
    bare, masked = ({"model": {"path": str(folder / name)}, "method": {"full": {}}} for name in ("bare", "masked"))
    meaningless = "the base perplexity meaningless as a limit; remove it"
    with pytest.raises(InputError) as refused:
        checked(folder, **of_texts(folder, **bare, domainAdaptation=BUDGET))
    assert str(refused.value) == (
        "domainAdaptation.maxGeneralPerplexityIncreasePercent: the layers on top of bert are new, because its weights have none;"
        f" the untrained head makes {meaningless}, or give a model that was trained to fill in words"
    )
    drawn = {"model": {"path": str(folder / "model"), "initialization": "random"}, "method": {"full": {}}}
    with pytest.raises(
        InputError,
        match=rf"IncreasePercent: all weights begin as random numbers \(model.initialization\); untrained weights make {meaningless}$",
    ):
        checked(folder, **of_texts(folder, **drawn, domainAdaptation=BUDGET))
    said = "the base model's figures are those of"
    for allowed, warned in (
        (of_texts(folder, **masked, domainAdaptation=BUDGET), []),
        (of_texts(folder, **bare), [f"{said} guessing"]),
        (of_texts(folder, **drawn), [f"{said} an untrained model"]),
    ):
        findings = [finding for finding in checked(folder, **allowed).findings if said in finding]
        assert [finding[finding.index(said) :] for finding in findings] == warned


@pytest.mark.parametrize(
    ("method", "encoder", "reason"),
    [
        ({"lora": {"rank": 2}}, False, None),
        ({"full": {}}, False, None),
        ({"full": {}}, True, None),
        ({"osf": {}}, False, "OSF weights cannot be interpolated"),
        ({"lora": {"rank": 2, "useDora": True}}, False, "DoRA weights cannot be interpolated"),
        ({"lora": {"rank": 2}}, True, "the layers on top of the model are trained beside the adapters"),
    ],
    ids=["lora", "full", "full encoder", "osf", "dora", "encoder"],
)
def test_a_sweep_that_will_be_left_out_is_said_before_training(
    folder: Path, method: dict[str, Any], encoder: bool, reason: str | None
) -> None:
    if encoder:
        save_encoder(folder / "masked", "AutoModelForMaskedLM")
    model = {"path": str(folder / ("masked" if encoder else "model"))}
    for sweep in (None, [0.5]):
        section = {} if sweep is None else {"sweep": sweep}
        findings = checked(folder, **of_texts(folder, model=model, method=method, domainAdaptation=section)).findings
        said = [finding for finding in findings if finding.startswith("domainAdaptation.sweep")]
        assert said == ([f"domainAdaptation.sweep: left out: {reason}"] if sweep and reason else [])


def test_whole_weights_that_no_rank_holds_are_not_swept(folder: Path) -> None:
    workers = {"workers": {"workers": 2, "deepspeed": {"zeroStage": 3}}}
    findings = checked(folder, **of_texts(folder, method={"full": {}}, domainAdaptation={"sweep": [0.5]}, **workers)).findings
    assert "domainAdaptation.sweep: left out: no rank holds whole weights under ZeRO stage 3" in findings


def test_another_model_at_the_same_path_is_recognized_by_its_digest(folder: Path) -> None:
    job = train_config(folder)
    inputs = check_inputs(job, data_folder(folder), rehearse_here=True)
    assert inputs.weights_digest == weights_digest(inputs.located)
    digests = inputs.digests(job)
    weights = folder / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    other = checked(folder).digests(job)
    assert {field for field in digests if digests[field] != other[field]} == {"model.path"}


def labelled(path: Path, *labels: str) -> dict[str, str]:
    path.write_text("".join(json.dumps({"text": f"{path.stem} {number}", "label": name}) + "\n" for number, name in enumerate(labels)))
    return {"path": str(path)}


@pytest.mark.parametrize("shares", [{}, {"testFraction": 0.2, "validationFraction": 0.2}], ids=["no share", "shares"])
def test_rows_of_one_class_are_refused_and_no_share_is_blamed(folder: Path, shares: dict[str, float]) -> None:
    data = {"train": [labelled(folder / "train.jsonl", *"a" * 20)], **shares}
    with pytest.raises(InputError) as refused:
        checked(folder, task="text-classification", data=data)
    assert refused.value.problem == "all training rows have the class 'a', so there is nothing to learn"


def test_answers_that_no_model_finds_are_refused_and_no_share_is_blamed(folder: Path) -> None:
    save_encoder(folder / "bert", "AutoModelForQuestionAnswering", tokenizer=bert_tokenizer())
    rows = [{"question": f"What {number}?", "context": f"The river {number}.", "answers": ["Ann"]} for number in range(20)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": [{"path": str(folder / "train.jsonl")}], "testFraction": 0.2}
    with pytest.raises(InputError, match=r"^data\.train: \d+ rows have answers that are not a part of the text"):
        checked(folder, task="question-answering", data=data, model={"path": str(folder / "bert")})


def test_held_out_rows_of_a_class_that_no_training_row_has_are_all_counted(folder: Path) -> None:
    data = {"train": [labelled(folder / "train.jsonl", *"abab")], "test": [labelled(folder / "test.jsonl", *"adae")]}
    with pytest.raises(
        InputError, match=r"^data\.test\[0\]: 2 rows have classes that no training row has: 'd' and 'e' \(the first: .* line 2"
    ):
        checked(folder, task="text-classification", data=data)


def test_the_pieces_of_long_texts_are_counted_and_trained_on(folder: Path) -> None:
    (folder / "train.jsonl").write_text(json.dumps({"text": "The river is green. " * 50}) + "\n" + json.dumps({"text": "Short."}) + "\n")
    training = {"epochs": 2, "globalBatchSize": 4, "maxSequenceLength": 64}
    job = train_config(folder, task="language-modeling", training=training)
    inputs = check_inputs(job, data_folder(folder), rehearse_here=True)
    pieces = sum(len(pieces_of(example, inputs.tokenizer, 64)) for example in inputs.dataset.train)
    assert pieces > 4
    lines = inputs.describe(job)
    assert "rows        2 train, 0 validation, 0 test" in lines
    assert f"pieces      {pieces} train, 0 validation, 0 test, of at most 64 tokens; a step counts each as a row" in lines
    assert f"training    {math.ceil(2 * pieces / 4)} steps of 4 rows" in lines


def test_what_augmentation_would_do_is_described_with_examples(folder: Path) -> None:
    augmentation = {"operations": [{"punctuationInsertion": {"probability": 1.0}}], "copiesPerRow": 3}
    job = train_config(folder, augmentation=augmentation, training={"epochs": 2, "globalBatchSize": 4})
    inputs = check_inputs(job, data_folder(folder), rehearse_here=True)
    count, lines = len(inputs.dataset.train), inputs.describe(job)
    assert f"augmented   an epoch has {4 * count} rows: {count}, and {3 * count} varied copies" in lines
    assert f"training    {math.ceil(2 * 4 * count / 4)} steps of 4 rows" in lines
    shown = [line.removeprefix("varied      ").split(" → ") for line in lines if line.startswith("varied")]
    assert len(shown) == min(3, count)
    for before, after in shown:
        assert "".join(sign for sign in after if sign.isalnum()) == "".join(sign for sign in before if sign.isalnum())
        assert after != before


def test_where_no_row_changes_it_is_said_how_many_were_tried(folder: Path) -> None:
    augmentation = {"operations": [{"wordSwap": {"probability": 0.0}}]}
    job = train_config(folder, augmentation=augmentation)
    inputs = check_inputs(job, data_folder(folder), rehearse_here=True)
    many = replace(inputs, dataset=replace(inputs.dataset, train=tuple(inputs.dataset.train) * 99))
    for given, tried in ((inputs, len(inputs.dataset.train)), (many, 100)):
        assert f"varied      augmentation changed none of the first {tried} rows" in given.describe(job)


def test_the_tokenizer_does_not_travel_to_the_ranks() -> None:
    inputs = Inputs(CHAT, Dataset((), (), ()), HUB_MODEL, tokenizer=object(), findings=("a finding",), weights_digest="sha256:0")
    arrived = pickle.loads(pickle.dumps(inputs))
    assert inputs.tokenizer is not None
    assert arrived == replace(inputs, tokenizer=None)


def test_a_run_keeps_the_date_of_its_first_start(folder: Path) -> None:
    """Its template writes the date into every row: on another day the rows would have other tokens."""
    template = folder / "model" / "chat_template.jinja"
    template.write_text("{{ strftime_now('%d %b %Y') }}\n" + template.read_text())
    job = train_config(folder)
    inputs = check_inputs(job, data_folder(folder), rehearse_here=True)
    assert inputs.template_time is not None
    digests = inputs.digests(job)
    Ownership.of(job, digests | {TIME_FIELD: "2024-03-05T10:00:00"}).write(finished=False)

    again = check_inputs(job, data_folder(folder), rehearse_here=True)

    assert again.template_time == "2024-03-05T10:00:00"
    assert "05 Mar 2024" in again.tokenizer.decode(tokenize(again.dataset.train[0], again.tokenizer, 1000).input_ids)
    assert Ownership.of(job, again.digests(job)).finished() is False
    with pytest.raises(InputError, match="the time that the chat template shows: holds something else"):
        Ownership.of(job, digests | {TIME_FIELD: "2024-03-06T10:00:00"}).finished()


def test_a_run_whose_template_has_no_date_records_none(folder: Path) -> None:
    inputs = checked(folder)
    assert inputs.template_time is None
    assert TIME_FIELD not in inputs.digests(train_config(folder))


def test_conversations_are_tokenized_once_and_another_start_finds_the_same_in_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folder / "train.jsonl").open("a") as rows:
        rows.write(json.dumps({"prompt": "what is <|im_end|>?", "completion": "a token"}) + "\n")
    job, data = train_config(folder), data_folder(folder)
    first = check_inputs(job, data, rehearse_here=True)
    assert any("names of control tokens in the text, such as <|im_end|> (data.train[0] line 41)" in finding for finding in first.findings)
    data.keep()
    monkeypatch.setattr("trainer.chat.tokens.conversation_of", lambda *_: pytest.fail("a row was read by the template again"))
    assert first.with_tokens(job, data).found == ()
    again = DataFolder(folder / "data", folder / "data" / "start-1")
    second = check_inputs(job, again, rehearse_here=True)
    assert "tokens      those of data.train are reused from an earlier start" in second.describe(job)
    again.keep()
    assert second.with_tokens(job, again).found == ("data.train",)
    assert second.findings == first.findings
    assert not any(line.startswith("tokens") for line in first.describe(job))
