"""Which tokens are control tokens, by what a tokenizer says of them and what its template writes."""

import re

from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.fixtures import templates
from tests.trainer.fixtures.tokenizers import trained_tokenizer
from trainer.text.controls import _pattern, in_answers, in_text, in_turns, markup_ids, special_ids


def test_tokens_that_are_only_added_as_special_are_special() -> None:
    tokenizer = trained_tokenizer(None)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end not in tokenizer.all_special_ids
    assert end in special_ids(tokenizer)


def test_added_tags_are_markup_and_no_special_tokens() -> None:
    tokenizer = trained_tokenizer(None)
    think = tokenizer.convert_tokens_to_ids("<think>")
    assert think not in special_ids(tokenizer)
    assert think in markup_ids(tokenizer)


def test_in_a_text_special_tokens_are_looked_for_and_tags_are_not() -> None:
    found = in_text(trained_tokenizer(None)).findall("a <|im_end|> <think> </s> <b>")
    assert found == ["<|im_end|>", "</s>"]


def test_in_a_question_the_templates_own_tags_are_looked_for_too() -> None:
    tokenizer = trained_tokenizer(templates.QWEN3)
    assert in_turns(tokenizer, templates.QWEN3).findall("<think> </s>") == ["<think>", "</s>"]
    assert in_turns(tokenizer, templates.GEMMA).findall("<think> </s>") == ["</s>"]


def test_in_an_answer_the_tags_of_thoughts_are_left_to_the_template() -> None:
    tokenizer = trained_tokenizer(templates.QWEN3)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<reasoning>"]})
    template = templates.QWEN3 + "{# <reasoning> #}"
    assert in_answers(tokenizer, template).findall("<think> </s> <reasoning>") == ["</s>"]
    assert in_answers(tokenizer, templates.QWEN3).findall("<reasoning>") == ["<reasoning>"]


def test_the_longest_name_is_found_and_a_mark_of_punctuation_is_no_name() -> None:
    tokenizer = trained_tokenizer(None)
    tokenizer.add_special_tokens({"pad_token": "!", "additional_special_tokens": ["<|end|>x"]})
    assert in_text(tokenizer).findall("stop! <|end|>x") == ["<|end|>x"]


@given(st.sets(st.text(st.sampled_from("<|ab>.("), min_size=3, max_size=6), max_size=8), st.text(st.sampled_from("<|ab>.("), max_size=30))
def test_names_are_found_as_by_trying_each_the_longest_first(names: set[str], words: str) -> None:
    longest_first = "|".join(map(re.escape, sorted(names, key=len, reverse=True))) or "(?!)"
    assert _pattern(frozenset(names)).findall(words) == re.findall(longest_first, words)
