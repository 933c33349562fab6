"""The model in use computes what was trained, on the base that it was trained on and on no other."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from finetune.api.errors import InputError
from finetune.api.tasks import ModelFamily, TaskName
from finetune.api.using import ChosenModel, WeightType
from tests.trainer.fixtures.causal import random_prompts, save_tiny_model, tiny_tokenizer
from tests.trainer.fixtures.encoders import bert_tokenizer, save_encoder
from tests.trainer.fixtures.using import using
from trainer.model.load import load_model
from trainer.model.lora import peft_warnings_silenced
from trainer.tasks.registry import task_of
from trainer.using.found import find
from trainer.using.loading import Loaded, load

INPUT = torch.tensor(random_prompts([12]))


def test_the_adapter_and_its_base_are_one_model(loaded: Loaded, trained: Path) -> None:
    config = trained / "model" / "adapter"
    base = AutoModelForCausalLM.from_pretrained(trained.parent / "base")
    before = base(INPUT).logits.detach()
    with peft_warnings_silenced():
        tuned = PeftModel.from_pretrained(base, config)(INPUT).logits.detach()

    assert [side.name for side in loaded.sides] == ["base", "tuned"]
    found = []
    for side in loaded.sides:
        with side.within():
            found.append(side.engine.forward(input_ids=INPUT))
    assert torch.equal(found[0], before)
    assert torch.equal(found[1], tuned)


def test_beside_a_whole_model_the_base_of_its_record_is_loaded(run: Path, trained: Path) -> None:
    shutil.rmtree(run / "model" / "adapter")

    both = using(run, base=True)

    assert both.base is not None
    assert torch.equal(
        both.base.engine.forward(input_ids=INPUT), AutoModelForCausalLM.from_pretrained(trained.parent / "base")(INPUT).logits
    )
    assert not torch.equal(both.base.engine.forward(input_ids=INPUT), both.tuned.engine.forward(input_ids=INPUT))


def test_other_weights_in_the_base_s_place_are_refused(run: Path, tmp_path: Path) -> None:
    other = save_tiny_model(tmp_path / "other", seed=4)

    with pytest.raises(InputError, match=r"^--base-model: the weights in .*other \(sha256:.*\) are not those that were trained on"):
        using(run / "model" / "adapter", base_model=other)


def test_a_base_is_refused_for_a_model_that_does_not_say_which_it_has(saved_model: Path) -> None:
    with pytest.raises(InputError, match=r"^--base: nothing says which model the model in .* was made from"):
        using(saved_model, base=True)


@pytest.mark.parametrize(("with_template", "task"), [(True, TaskName.CHAT), (False, TaskName.TEXT_GENERATION)])
def test_without_a_record_the_task_is_the_likeliest_and_said(tmp_path: Path, *, with_template: bool, task: TaskName) -> None:
    folder = save_tiny_model(tmp_path / "bare", tiny_tokenizer() if with_template else tiny_tokenizer(None))
    chosen, said = ChosenModel(name=str(folder)), list[str]()

    assert load(find(chosen), chosen, said.append).task.facts.name is task
    assert said == [f"nothing says what this model was trained for; it is used for {task} (--task chooses another)"]


@pytest.mark.parametrize(
    ("head", "task"), [("SequenceClassification", TaskName.TEXT_CLASSIFICATION), ("QuestionAnswering", TaskName.QUESTION_ANSWERING)]
)
def test_a_head_says_what_an_encoder_is_for(tmp_path: Path, head: str, task: TaskName) -> None:
    folder = save_encoder(tmp_path / "bare", f"AutoModelFor{head}", tokenizer=bert_tokenizer())

    assert using(folder).task.facts.name is task


def test_the_task_that_is_asked_for_is_taken(run: Path) -> None:
    assert using(run, task=TaskName.LANGUAGE_MODELING).task.facts.name is TaskName.LANGUAGE_MODELING


def test_the_type_that_is_asked_for_is_taken(run: Path) -> None:
    model = using(run, dtype=WeightType.BFLOAT16).tuned.engine.model

    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_a_new_head_is_drawn_from_the_seed_of_the_training_that_is_recorded_else_from_the_one_given(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "bare", tokenizer=bert_tokenizer())
    chosen = ChosenModel(name=str(folder), task=TaskName.QUESTION_ANSWERING)
    found = find(chosen)

    def head(recorded: int | None, given: int) -> torch.Tensor:
        loaded = load(replace(found, seed=recorded), chosen, lambda _: None, seed=given)
        weight: torch.Tensor = loaded.tuned.engine.model.qa_outputs.weight
        return weight.detach()

    family = task_of(TaskName.QUESTION_ANSWERING, ModelFamily.ENCODER).objective.family
    trained_from = load_model(found.located, torch.float32, family, seed=7).qa_outputs.weight.detach()
    assert torch.equal(head(None, 7), trained_from)
    assert torch.equal(head(7, 3), trained_from)
    assert not torch.equal(head(None, 3), trained_from)
