"""A model whose parameters are shards answers and is exported as if it were whole."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.trainer.engine.ranks import RANKS_SECONDS, fork_ranks
from tests.trainer.fixtures.causal import random_prompts, tiny_tokenizer
from tests.trainer.model.sharded import NEW_TOKENS, PROMPTS, STOPS
from trainer.evaluation.generation import generate
from trainer.model.lora import peft_warnings_silenced

pytestmark = [pytest.mark.timeout(RANKS_SECONDS), pytest.mark.xdist_group("ranks")]

PROGRAM = Path(__file__).with_name("sharded.py")
INPUT = torch.tensor(random_prompts([12]))


@pytest.fixture(scope="module")
def results(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    (folder / "base").symlink_to(saved_model)
    fork_ranks(PROGRAM, folder, [2])
    return folder


def reloaded(saved_model: Path, results: Path) -> PeftModel:
    with peft_warnings_silenced():
        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(saved_model), results / "adapter").eval()


def test_parameters_were_really_sharded(results: Path) -> None:
    assert json.loads((results / "2.json").read_text()) == [0]


def test_ranks_that_stop_at_different_steps_answer_as_the_whole_model_does(saved_model: Path, results: Path) -> None:
    model = reloaded(saved_model, results)
    model.generation_config.eos_token_id = list(range(STOPS))

    for rank, prompts in PROMPTS.items():
        answers = json.loads((results / f"answers-{rank}.json").read_text())
        assert answers == [answer.text for answer in generate(model, tiny_tokenizer(), prompts, NEW_TOKENS)]
        assert any(answers)


def test_gradients_of_the_adapters_are_those_of_the_whole_model(saved_model: Path, results: Path) -> None:
    with peft_warnings_silenced():
        whole = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(saved_model), results / "adapter", is_trainable=True)
    whole(torch.tensor(PROMPTS[0][1:2])).logits.logsumexp(dim=-1).sum().backward()
    found = load_file(results / "gradients.safetensors")

    expected = {name: parameter.grad for name, parameter in whole.named_parameters() if parameter.grad is not None}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4 * float(value.abs().max()))


def test_adapter_and_merged_model_are_whole_and_agree(saved_model: Path, results: Path) -> None:
    expected = reloaded(saved_model, results)(INPUT).logits

    merged = AutoModelForCausalLM.from_pretrained(results / "merged")

    torch.testing.assert_close(merged(INPUT).logits, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(AutoModelForCausalLM.from_pretrained(saved_model)(INPUT).logits, expected)
