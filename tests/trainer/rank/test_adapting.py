"""A run that adapts to a domain: what its report says of general texts, which weights a budget leaves, what is between base and tuned.

One rank in this process, without Ray. What is likely is computed here again with transformers alone.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.causal import tiny_learner
from tests.trainer.fixtures.encoders import save_encoder
from tests.trainer.rank.test_results import run
from trainer.export import checkpoint_of
from trainer.rank.adapting import BudgetExceededError
from trainer.storage.kinds import output_place
from trainer.storage.ownership import Ownership

DOMAIN = [f"the {color} {thing} is {color} and no other thing is {color}" for color in ("red", "green", "blue") for thing in
          ("apple", "river", "stone", "cloud", "house", "horse")]  # fmt: skip
GENERAL = [f"{number}+{number + 1}={2 * number + 1};QWERTY" for number in range(24)]


def write(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapting")
    tiny_learner(folder / "base")
    write(folder / "train.jsonl", DOMAIN[:10])
    write(folder / "validation.jsonl", DOMAIN[10:14])
    write(folder / "test.jsonl", DOMAIN[14:])
    write(folder / "replay.jsonl", GENERAL[:8])
    write(folder / "general.jsonl", GENERAL[8:])
    return folder


def config(folder: Path, name: str, sides: tuple[str, ...] = ("train", "validation", "test"), **changes: Any) -> TrainConfig:
    content = {
        "task": "language-modeling",
        "model": {"path": str(folder / "base")},
        "data": {side: [{"path": str(folder / f"{side}.jsonl")}] for side in sides},
        "training": {"maxSteps": 6, "globalBatchSize": 4, "microBatchSize": 4, "learningRate": 0.02, "maxSequenceLength": 64},
        "evaluation": {"everySteps": 2},
        "checkpoint": {"everySteps": 100, "keep": 1},
        "output": {"directory": str(folder / name)},
        "domainAdaptation": {"generalEvaluation": [{"path": str(folder / "general.jsonl")}]},
    }
    return train_config(folder, **(content | changes))


def report(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name / "report.json").read_text())


def perplexity(model: Any, texts: list[str]) -> float:
    """Compute it text by text, without a batch."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model.name_or_path)
    nll = tokens = 0.0
    for text in texts:
        ids = torch.tensor([[*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]])
        with torch.no_grad():
            chances = model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
        nll -= float(chances.gather(1, ids[0, 1:, None]).sum())
        tokens += ids.shape[1] - 1
    return math.exp(nll / tokens)


@pytest.fixture(scope="module", params=[{"lora": {"rank": 4}}, {"full": {}}], ids=["lora", "full"])
def adapted(folder: Path, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    method = next(iter(request.param))
    section = {
        "generalEvaluation": [{"path": str(folder / "general.jsonl")}],
        "replay": {"sources": [{"path": str(folder / "replay.jsonl")}], "share": 0.25},
        "sweep": [0.5, 0.25],
    }
    output = {"directory": str(folder / method), "export": ["merged"]}
    run(config(folder, method, method=request.param, domainAdaptation=section, output=output))
    return method, report(folder, method)


def test_the_figures_before_and_after_are_those_of_the_models_alone(folder: Path, adapted: tuple[str, dict[str, Any]]) -> None:
    from transformers import AutoModelForCausalLM

    method, written = adapted
    base, tuned = (AutoModelForCausalLM.from_pretrained(path) for path in (folder / "base", folder / method / "model" / "merged"))
    for side, texts in (("general", GENERAL[8:]), ("domain", DOMAIN[14:])):
        found = written["domainAdaptation"][f"{side}Perplexity"]
        assert found["before"] == pytest.approx(perplexity(base, texts), rel=1e-4)
        assert found["after"] == pytest.approx(perplexity(tuned, texts), rel=1e-3)
    general = written["domainAdaptation"]["generalPerplexity"]
    assert written["domainAdaptation"]["generalIncreasePercent"] == pytest.approx(100 * (general["after"] / general["before"] - 1))
    low, high = written["domainAdaptation"]["generalIncreaseInterval"]
    assert low <= written["domainAdaptation"]["generalIncreasePercent"] <= high
    assert [point["step"] for point in general["curve"]] == [2, 4, 6]
    # Few texts: a validation measures all of them, and the chosen weights are those of one of the points.
    domain = written["domainAdaptation"]["domainPerplexity"]
    assert (domain["texts"], domain["curveTexts"], [point["step"] for point in domain["curve"]]) == (
        "data.test",
        "data.validation",
        [2, 4, 6],
    )
    assert general["after"] in [pytest.approx(point["value"], rel=1e-5) for point in general["curve"]]


def test_positions_between_base_and_tuned_are_those_of_mixed_weights(folder: Path, adapted: tuple[str, dict[str, Any]]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    method, written = adapted
    base, tuned = (AutoModelForCausalLM.from_pretrained(path) for path in (folder / "base", folder / method / "model" / "merged"))
    points = {point["position"]: point for point in written["domainAdaptation"]["sweep"]}
    assert list(points) == [0.0, 0.25, 0.5, 1.0]
    for position, point in points.items():
        mixed = AutoModelForCausalLM.from_pretrained(folder / "base")
        with torch.no_grad():
            for parameter, one, other in zip(mixed.parameters(), base.parameters(), tuned.parameters(), strict=True):
                parameter.copy_((1 - position) * one + position * other)
        for side, texts in (("general", GENERAL[8:]), ("domain", DOMAIN[14:])):
            assert point[f"{side}Perplexity"] == pytest.approx(perplexity(mixed, texts), rel=1e-3)


def test_the_result_is_bit_for_bit_that_of_a_run_without_a_sweep(folder: Path, adapted: tuple[str, dict[str, Any]]) -> None:
    method, _ = adapted
    replay = {"sources": [{"path": str(folder / "replay.jsonl")}], "share": 0.25}
    section = {"generalEvaluation": [{"path": str(folder / "general.jsonl")}], "replay": replay}
    output = {"directory": str(folder / f"{method}-plain"), "export": ["merged"]}
    run(config(folder, "x", method={method: {"rank": 4} if method == "lora" else {}}, domainAdaptation=section, output=output))
    [one, other] = [(folder / name / "model" / "merged" / "model.safetensors").read_bytes() for name in (method, f"{method}-plain")]
    assert one == other
    assert report(folder, f"{method}-plain")["domainAdaptation"]["sweep"] == []


def test_texts_of_the_domain_are_measured_for_themselves(folder: Path) -> None:
    write(folder / "domain.jsonl", [f"{text}, they say" for text in DOMAIN[14:]])
    section = {"domainEvaluation": [{"path": str(folder / "domain.jsonl")}]}
    run(config(folder, "domain", domainAdaptation=section))
    written = report(folder, "domain")
    found = written["domainAdaptation"]
    assert found["domainPerplexity"]["texts"] == found["domainPerplexity"]["curveTexts"] == "domainAdaptation.domainEvaluation"
    assert found["domainPerplexity"]["rows"] == 4
    assert found["domainPerplexity"]["after"] != pytest.approx(written["final"]["perplexity"]["value"], rel=1e-3)
    curve = {point["step"]: point["value"] for point in found["domainPerplexity"]["curve"]}
    assert curve[found["chosenStep"]] == pytest.approx(found["domainPerplexity"]["after"], rel=1e-5)
    assert "generalPerplexity" not in found
    assert found["withinBudget"] is None


def test_replayed_rows_are_a_quarter_of_what_was_drawn(adapted: tuple[str, dict[str, Any]]) -> None:
    _, written = adapted
    # 10 rows and 3 replayed ones make an epoch; 24 rows were drawn.
    assert written["domainAdaptation"]["replay"] == {"rows": 8, "share": 0.25, "drawn": 6}
    assert written["training"]["epochs"] == pytest.approx(24 / 13)


def test_training_stops_beyond_the_budget_and_the_best_weights_within_it_are_the_result(folder: Path) -> None:
    unbounded = config(folder, "unbounded")
    run(unbounded)
    curve = {p["step"]: p["value"] for p in report(folder, "unbounded")["domainAdaptation"]["generalPerplexity"]["curve"]}
    before = report(folder, "unbounded")["domainAdaptation"]["generalPerplexity"]["before"]
    rise = {step: 100 * (value / before - 1) for step, value in curve.items()}
    assert 0 < rise[2] < rise[4], "the example must drift"
    budget = (rise[2] + rise[4]) / 2
    section = {"generalEvaluation": [{"path": str(folder / "general.jsonl")}], "maxGeneralPerplexityIncreasePercent": budget}
    sent = run(config(folder, "bounded", domainAdaptation=section))
    written = report(folder, "bounded")
    found = written["domainAdaptation"]
    assert (written["training"]["steps"], found["exceededAtStep"], found["chosenStep"], found["withinBudget"]) == (4, 4, 2, True)
    assert written["measuredStep"] == written["best"]["step"] == 2
    assert found["generalIncreasePercent"] == pytest.approx(rise[2], abs=0.01)
    kept = {one["step"]: (one["best"], one["withinBudget"]) for one in written["checkpoints"]}
    assert kept == {2: (True, True), 4: (False, False)}
    assert f"general perplexity exceeded the budget of {budget:g} % at step 4; training stopped" in written["warnings"]
    assert sent.fields["metrics"].adaptation.within_budget is True

    # The same run again finds itself finished: nothing is trained on, and the results are made from the same weights.
    (folder / "bounded" / "report.json").unlink()
    run(config(folder, "bounded", domainAdaptation=section), only_results=True)
    assert report(folder, "bounded")["domainAdaptation"]["chosenStep"] == 2


@pytest.mark.parametrize(("kind", "guesses"), [("AutoModel", True), ("AutoModelForMaskedLM", False)], ids=["new head", "kept head"])
def test_what_an_encoder_whose_head_is_new_found_before_is_told_as_guesses(
    folder: Path, kind: str, guesses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.evaluation.comparison.LEAST_ROWS", 2)
    name = f"encoder-{kind}"
    model = save_encoder(folder / name / "base", kind)
    sent = run(config(folder, f"{name}/out", model={"path": str(model)}, method={"full": {}}))
    written = report(folder, f"{name}/out")
    found, adaptation = written["domainAdaptation"], sent.fields["metrics"].adaptation
    for side in ("general", "domain"):
        entry = found[f"{side}PseudoPerplexity"]
        assert entry["beforeIsGuessing"] is guesses
        assert entry["before"] > 0
        assert (entry["verdict"] is None) or not guesses
    assert (found["generalIncreasePercent"] is None) is guesses
    assert (adaptation.general_increase_percent is None) is guesses
    assert adaptation.general_pseudo_perplexity == pytest.approx(found["generalPseudoPerplexity"]["after"])
    assert written["model"]["headIsNew"] is guesses
    assert ("verdict" in written["change"]["maskedLoss"]) is not guesses
    assert (sent.fields["metrics"].compared["maskedLoss"].verdict is None) is guesses


def test_without_validation_rows_the_newest_weights_within_the_budget_are_the_result(folder: Path) -> None:
    section = {"generalEvaluation": [{"path": str(folder / "general.jsonl")}], "maxGeneralPerplexityIncreasePercent": 900}
    run(config(folder, "unvalidated", sides=("train", "test"), domainAdaptation=section))
    written = report(folder, "unvalidated")
    assert written["domainAdaptation"]["chosenStep"] == written["training"]["steps"] == 6
    assert [point["step"] for point in written["domainAdaptation"]["generalPerplexity"]["curve"]] == [2, 4, 6]


def test_a_run_without_weights_within_the_budget_fails_and_says_what_to_do(folder: Path) -> None:
    section = {"generalEvaluation": [{"path": str(folder / "general.jsonl")}], "maxGeneralPerplexityIncreasePercent": 0.001}
    for _ in range(2):  # and again when it is tried again
        with pytest.raises(BudgetExceededError, match=r"no checkpoint is within .* the smallest increase .* at step 2; lower training"):
            run(config(folder, "hopeless", domainAdaptation=section))
    assert not (folder / "hopeless" / "report.json").exists()


def test_an_export_of_a_bounded_run_takes_the_newest_weights_within_the_budget_or_warns(folder: Path) -> None:
    for name, step, words in (
        ("unvalidated", 6, "the newest within the budget for general texts"),
        ("hopeless", 2, "warning: no checkpoint is within the job's budget for general texts"),
    ):
        place, said = output_place(config(folder, name).output), list[str]()
        found = checkpoint_of(place, Ownership.recorded(place), said.append)
        assert found.record.step == step
        assert any(words in line for line in said)
