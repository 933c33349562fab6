from typing import Any

import pytest
import torch

from finetune.api.sections import LoraMethod, Method, Regularization
from finetune.api.using import Decoding
from tests.trainer.fixtures.causal import random_prompts, tiny_gpt2, tiny_model, tiny_tokenizer
from tests.trainer.fixtures.tokenizers import trained_tokenizer
from trainer.chat.turnend import opening_ids, stop_ids, turn_stops
from trainer.evaluation.generation import PLAIN, AnswerForm, Generated, generate, generate_one
from trainer.model.lora import apply_method
from trainer.objectives.family import CAUSAL_LM

LENGTHS = [3, 17, 9, 1, 30, 9]
NEW_TOKENS = 12


def answered(model: Any, tokenizer: Any, prompts: list[list[int]], *arguments: Any, **options: Any) -> list[Generated]:
    """Answer prompts in the form of the tokenizer's chat template."""
    form = AnswerForm(turn_stops(tokenizer), tuple(opening_ids(tokenizer)))
    return generate(model, tokenizer, prompts, *arguments, form=form, **options)


def greedy_by_hand(model: Any, prompt: list[int], stops: list[int], max_new_tokens: int) -> list[int]:
    """Return the greedy answer by one forward pass over everything for each token: no cache, no padding, no batch."""
    tokens = list(prompt)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            token = int(model(torch.tensor([tokens])).logits[0, -1].argmax())
        if token in stops:
            break
        tokens.append(token)
    return tokens[len(prompt) :]


def test_an_answer_is_the_greedy_one_of_a_plain_forward_loop() -> None:
    model, tokenizer, prompts = tiny_model(), tiny_tokenizer(), random_prompts(LENGTHS)
    stops = stop_ids(model, tokenizer)

    answers = [answer.text for answer in answered(model, tokenizer, prompts, NEW_TOKENS, batch_size=4)]

    expected = [tokenizer.decode(greedy_by_hand(model, prompt, stops, NEW_TOKENS), skip_special_tokens=True).strip() for prompt in prompts]
    assert answers == expected
    assert len(set(answers)) > 1, "the test needs prompts with different answers"


@pytest.mark.parametrize("batch_size", [1, 2, 3, 6, 100])
def test_the_batch_does_not_change_the_text(batch_size: int) -> None:
    model, tokenizer, prompts = tiny_model(seed=5), tiny_tokenizer(), random_prompts(LENGTHS)

    alone = [answered(model, tokenizer, [prompt], NEW_TOKENS)[0] for prompt in prompts]

    assert answered(model, tokenizer, prompts, NEW_TOKENS, batch_size=batch_size) == alone


def rigged(token_after: dict[int, int]) -> Any:
    """Return a model whose next token depends on the last one alone: `token_after` maps each to its successor."""
    model = tiny_model(tied=False, layers=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for norm in (model.model.norm, model.model.layers[0].input_layernorm, model.model.layers[0].post_attention_layernorm):
            norm.weight.fill_(1.0)
        for channel, (last, following) in enumerate(token_after.items()):
            model.model.embed_tokens.weight[last, channel] = 1.0
            model.lm_head.weight[following, channel] = 1.0
    return model


def test_an_answer_ends_at_the_end_of_turn_and_at_the_end_of_sequence() -> None:
    tokenizer = tiny_tokenizer()
    end, turn = tokenizer.convert_tokens_to_ids("<|end|>"), tokenizer.convert_tokens_to_ids("<|turn|>")
    a, b, c = (tokenizer.convert_tokens_to_ids(letter) for letter in "xyz")
    model = rigged({a: b, b: turn, turn: a, c: end, end: c})

    answers = answered(model, tokenizer, [[a], [b], [c]], 8)

    assert answers == [Generated("y", cut=False), Generated("", cut=False), Generated("", cut=False)]


def test_a_model_that_never_stops_is_cut_at_the_limit() -> None:
    tokenizer = tiny_tokenizer()
    a = tokenizer.convert_tokens_to_ids("x")

    assert answered(rigged({a: a}), tokenizer, [[a]], 7) == [Generated("x" * 7, cut=True)]


def test_an_answer_that_ends_with_the_last_token_of_the_limit_is_whole() -> None:
    tokenizer = tiny_tokenizer()
    a, b, end = (tokenizer.convert_tokens_to_ids(token) for token in ("x", "y", "<|end|>"))

    assert answered(rigged({a: b, b: end}), tokenizer, [[a], [b]], 2) == [Generated("y", cut=False), Generated("", cut=False)]
    assert answered(rigged({a: b, b: end}), tokenizer, [[a]], 1) == [Generated("y", cut=True)]


def test_a_prompt_that_ends_in_the_padding_token_is_answered_like_any_other() -> None:
    tokenizer = tiny_tokenizer()
    end = tokenizer.eos_token_id
    a, b, c = (tokenizer.convert_tokens_to_ids(letter) for letter in "xyz")
    model = rigged({end: b, b: c, c: c})

    assert [answer.text for answer in answered(model, tokenizer, [[a, b, a, end], [end]], 3)] == ["yzz", "yzz"]


def test_stop_tokens_are_those_of_model_tokenizer_and_template() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    model.generation_config.eos_token_id = [0, 77]

    assert stop_ids(model, tokenizer) == [0, tokenizer.convert_tokens_to_ids("<|turn|>"), 77]
    assert stop_ids(model, tiny_tokenizer(chat_template=None)) == [0, 77]


def test_the_models_own_sampling_settings_are_not_used() -> None:
    model, tokenizer, prompts = tiny_model(), tiny_tokenizer(), random_prompts(LENGTHS)
    plain = answered(model, tokenizer, prompts, NEW_TOKENS)
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=3.0, num_beams=2)

    assert answered(model, tokenizer, prompts, NEW_TOKENS) == plain


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_gradients_are_left_as_they_were(training: bool) -> None:
    model = apply_method(tiny_model(), Method(lora=LoraMethod()), Regularization(dropout=0.5), seed=1, family=CAUSAL_LM).train(training)

    first = answered(model, tiny_tokenizer(), random_prompts(LENGTHS), NEW_TOKENS)

    assert first == answered(tiny_model(), tiny_tokenizer(), random_prompts(LENGTHS), NEW_TOKENS), "dropout is off in generation"
    assert model.training is training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_mode_is_restored_when_generation_fails() -> None:
    model = tiny_model().train()

    with pytest.raises(IndexError):
        answered(model, tiny_tokenizer(), [[10_000]], 3)

    assert model.training


def test_a_prompt_longer_than_the_context_keeps_its_end() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    long = random_prompts([300])[0]

    assert answered(model, tokenizer, [long], 28) == answered(model, tokenizer, [long[-100:]], 28)


def test_a_watched_answer_is_that_of_a_batch_also_to_a_prompt_longer_than_the_learned_positions() -> None:
    model, tokenizer = tiny_gpt2(), tiny_tokenizer()
    [prompt] = random_prompts([90])

    watched = generate_one(model, tokenizer, prompt, NEW_TOKENS, PLAIN, Decoding(), lambda _: False)

    assert [watched] == generate(model, tokenizer, [prompt], NEW_TOKENS)


def test_no_prompts_give_no_answers_and_an_empty_prompt_is_refused() -> None:
    assert answered(tiny_model(), tiny_tokenizer(), [], 3) == []
    with pytest.raises(ValueError, match="no tokens"):
        answered(tiny_model(), tiny_tokenizer(), [[1], []], 3)


def test_an_answer_ends_at_an_end_of_turn_that_only_the_vocabulary_knows() -> None:
    """Many tokenizers have it among their added tokens and not among the special tokens that they name."""
    tokenizer = trained_tokenizer("{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}")
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert end not in tokenizer.all_special_ids

    assert end in stop_ids(tiny_model(), tokenizer)


def test_an_answer_does_not_end_where_its_thoughts_end() -> None:
    """In some templates one token ends thoughts and earlier turns, and another one the last turn."""
    template = (
        "{% for m in messages %}{% if loop.last and m.thinking %}<|start|>assistant thinks: {{ m.thinking }}<|turn|>{% endif %}"
        "<|start|>{{ m.role }}: {{ m.content }}{% if loop.last and m.role == 'assistant' %}<|end|>{% else %}<|turn|>{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    )
    tokenizer = tiny_tokenizer(chat_template=template)
    start, thought, turn, answer, end = (tokenizer.convert_tokens_to_ids(token) for token in ("<|start|>", "x", "<|turn|>", "y", "<|end|>"))
    model = rigged({start: thought, thought: turn, turn: answer, answer: end})

    assert answered(model, tokenizer, [[start]], 8) == [Generated("xy", cut=False)]


def test_what_the_template_writes_before_an_answer_is_no_part_of_it() -> None:
    template = (
        "{% for m in messages %}<|start|>{{ m['role'] }}{% if m['role'] == 'assistant' %}xy{% endif %}<|turn|>{{ m['content'] }}<|end|>"
        "{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    )
    tokenizer = tiny_tokenizer(chat_template=template)
    x, y, z, turn, end = (tokenizer.convert_tokens_to_ids(token) for token in ("x", "y", "z", "<|turn|>", "<|end|>"))
    start = tokenizer.convert_tokens_to_ids("<|start|>")
    model = rigged({start: x, x: y, y: turn, turn: z, z: end})

    assert [answer.text for answer in answered(model, tokenizer, [[start], [turn]], 8)] == ["z", "z"]
