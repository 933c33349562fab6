"""Answers of encoder-decoders: greedy as by hand, whatever the batch, begun as their settings or a request says."""

from typing import Any

import pytest
import torch

from finetune.api.sections import LoraMethod, Method, Regularization
from tests.trainer.fixtures.seq2seq import END, KINDS, PAD, POSITIONS, tiny_seq2seq, word_tokenizer
from trainer.evaluation.generation import generate
from trainer.model.lora import apply_method
from trainer.objectives.seq2seq import SEQ2SEQ_LM

WORDS = [f"w{number}" for number in range(40)]
NEW_TOKENS = 8


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return word_tokenizer(WORDS)


def sources(lengths: tuple[int, ...] = (3, 11, 7, 1, 14, 7)) -> list[list[int]]:
    generator = torch.Generator().manual_seed(4)
    return [[*torch.randint(3, 43, (length,), generator=generator).tolist(), END] for length in lengths]


def restless(model_type: str, **changes: Any) -> Any:
    """Return a model whose greedy choices differ between sources."""
    model = tiny_seq2seq(model_type, 43, **changes)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed_positions" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model


def by_hand(model: Any, source: list[int], begun: list[int]) -> list[int]:
    """Return the greedy answer by one forward pass over everything for each token: no cache, no padding, no batch."""
    tokens = list(begun)
    for _ in range(NEW_TOKENS):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([tokens])).logits
        token = int(logits[0, -1].argmax())
        if token == END:
            break
        tokens.append(token)
    return tokens[len(begun) :]


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("model_type", KINDS)
def test_an_answer_is_the_greedy_one_whatever_else_is_in_its_batch(tokenizer: Any, model_type: str, batch_size: int) -> None:
    model = restless(model_type)
    expected = [tokenizer.decode(by_hand(model, source, [PAD]), skip_special_tokens=True) for source in sources()]

    found = generate(model, tokenizer, sources(), NEW_TOKENS, batch_size)

    assert [answer.text for answer in found] == expected
    assert len(set(expected)) > 2, "the test needs sources with different answers"


@pytest.mark.parametrize("model_type", KINDS)
def test_each_answer_begins_with_its_own_forced_token_which_is_no_part_of_it(tokenizer: Any, model_type: str) -> None:
    model, firsts = restless(model_type), [3, 4, 5, 6, 7, 8]

    found = generate(model, tokenizer, sources(), NEW_TOKENS, 4, firsts=firsts)

    expected = [by_hand(model, source, [PAD, first]) for source, first in zip(sources(), firsts, strict=True)]
    assert [answer.text for answer in found] == [tokenizer.decode(answer, skip_special_tokens=True) for answer in expected]


def test_the_model_s_own_forced_token_counts_and_its_sampling_settings_do_not(tokenizer: Any) -> None:
    model = restless("bart")
    plain, begun = ([answer.text for answer in generate(model, tokenizer, sources(), NEW_TOKENS, firsts=own)] for own in ((), [5] * 6))
    model.generation_config.update(do_sample=True, temperature=5.0, num_beams=3, no_repeat_ngram_size=1, forced_eos_token_id=END)
    assert [answer.text for answer in generate(model, tokenizer, sources(), NEW_TOKENS)] == plain
    model.generation_config.forced_bos_token_id = 5
    assert [answer.text for answer in generate(model, tokenizer, sources(), NEW_TOKENS)] == begun != plain


def test_a_source_longer_than_the_encoder_loses_its_end_and_keeps_its_end_token(tokenizer: Any) -> None:
    model = restless("bart")
    words = [3 + number % 40 for number in range(2 * POSITIONS)]

    long, cut = [*words, END], [*words[: POSITIONS - 1], END]

    assert generate(model, tokenizer, [long], NEW_TOKENS) == generate(model, tokenizer, [cut], NEW_TOKENS)
    assert generate(model, tokenizer, [long], NEW_TOKENS) != generate(model, tokenizer, [[*words[:3], END]], NEW_TOKENS)


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_settings_are_left_as_they_were(tokenizer: Any, training: bool) -> None:
    plain = generate(restless("t5"), tokenizer, sources(), NEW_TOKENS)
    base = restless("t5")
    own = base.generation_config
    model = apply_method(base, Method(lora=LoraMethod()), Regularization(dropout=0.5), seed=1, family=SEQ2SEQ_LM).train(training)

    assert generate(model, tokenizer, sources(), NEW_TOKENS) == plain, "dropout is off in generation"
    assert model.training is training
    assert base.generation_config is own
