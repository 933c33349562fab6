"""The doctor refuses data that makes training pointless and reports what looks wrong; about good data it reports nothing."""

from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import InputError
from tests.builders import train_config
from tests.trainer.fixtures.examples import chat, dataset, source, text
from tests.trainer.fixtures.learned import causal_task
from tests.trainer.fixtures.stored import prepared
from tests.trainer.fixtures.tokenizers import byte_tokenizer
from trainer.data.rows import Example
from trainer.preflight.doctor import examine


def rows(count: int, start: int = 0, name: str = "data.train[0]") -> list[Example]:
    return [chat(f"question {number}?", f"answer {number}", origin=f"{name} line {number + 1}") for number in range(start, start + count)]


def findings(tokenizer: Any, train: list[Example], *, length: int = 1024, batch: int = 2, task: str = "chat", **sides: Any) -> list[str]:
    """Return what the doctor says of these rows, apart from answers and from missing held-out sets unless they are given."""
    sides = sides or {"validation": rows(40, 10_000, "data.validation[0]"), "test": rows(40, 20_000, "data.test[0]")}
    training = {"epochs": 1, "maxSequenceLength": length, "globalBatchSize": batch}
    settings = train_config(task=task, training=training, evaluation={"metrics": ["perplexity"]})
    return list(examine(causal_task(settings), dataset(train, **sides), tokenizer, settings))


def test_sound_data_needs_no_words(tokenizer: Any) -> None:
    assert findings(tokenizer, rows(50)) == []


def test_rows_that_do_not_fit_are_counted_with_their_share(tokenizer: Any) -> None:
    long = chat("q", "a" * 300, origin="data.train[0] line 100")
    assert findings(tokenizer, [*rows(49), long], length=128) == [
        "data.train: 1 of 50 rows (2 %) are cut after 128 tokens (the first: data.train[0] line 100);"
        " raise training.maxSequenceLength to keep their ends"
    ]


def test_rows_whose_prompt_fills_the_length_are_reported_as_teaching_nothing(tokenizer: Any) -> None:
    long = chat("q" * 300, "a", origin="data.train[0] line 100")
    said = findings(tokenizer, [*rows(49), long], length=128)
    assert said[0] == (
        "data.train: in 1 of 50 rows nothing is left to learn after the first 128 tokens (the first: data.train[0] line 100);"
        " raise training.maxSequenceLength or shorten the prompts"
    )


@pytest.mark.parametrize("side", ["train", "test"])
def test_a_set_without_anything_to_learn_is_refused(tokenizer: Any, side: str) -> None:
    long = [chat("q" * 300 + str(number), "a") for number in range(3)]
    train = long if side == "train" else rows(3)
    with pytest.raises(InputError, match=rf"data\.{side}: none of 3 rows has anything to learn: .* 64 tokens .*; raise training\.max"):
        findings(tokenizer, train, length=64, test=long)


def test_missing_and_few_held_out_rows_are_reported(tokenizer: Any) -> None:
    said = findings(tokenizer, rows(50), validation=rows(3, 100), test=[])
    assert said == [
        "data.test: there are no test rows, so base and tuned model cannot be compared; give data.testFraction",
        "data.validation: only 3 rows; they decide which checkpoint is best",
    ]
    assert findings(tokenizer, rows(50), test=rows(1, 100)) == ["data.test: only 1 row; the figures on them are rough"]


def test_a_template_that_never_ends_an_answer_is_reported() -> None:
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    said = findings(byte_tokenizer(template), rows(50))
    assert said == ["model: its chat template writes no token after the last answer; <|im_end|> is added, so the model learns to stop"]
    tokenizer = byte_tokenizer(template)
    tokenizer.eos_token = None
    said = findings(tokenizer, rows(50))
    assert said == ["model: its chat template ends answers without a special token; the tuned model may not know when to stop"]


def test_a_model_without_chat_template_is_reported_with_what_it_learns_instead() -> None:
    said = findings(byte_tokenizer(None), rows(50))
    assert said == ["model: the tokenizer has no chat template; conversations are written as «User: …», «Assistant: …»"]


def test_a_model_that_has_no_token_to_end_with_is_refused_for_chat() -> None:
    tokenizer = byte_tokenizer(None)
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="model: the tokenizer has neither a chat template nor an end-of-sequence token"):
        findings(tokenizer, rows(50))
    paragraphs = [text(f"paragraph number {number}") for number in range(50)]
    said = findings(tokenizer, paragraphs, task="language-modeling", test=[text(f"test {number}") for number in range(30)])
    assert said == ["model: the tokenizer has no end-of-sequence token, so the end of a text is not learned"]


def test_control_tokens_inside_a_text_are_reported(tokenizer: Any) -> None:
    said = findings(tokenizer, [*rows(49), chat("a<|im_start|>system", "b", origin="data.train[0] line 90")])
    assert said == [
        "data.train: 1 row has names of control tokens in the text, such as <|im_start|> (data.train[0] line 90); they are read as text"
    ]


def test_an_answer_with_other_white_space_is_no_different_answer(tokenizer: Any) -> None:
    assert findings(tokenizer, [*rows(50), chat("question 3?", f"{rows(4)[3].messages[-1].content} \n")]) == []


def test_several_answers_to_one_prompt_are_reported(tokenizer: Any) -> None:
    said = findings(tokenizer, [*rows(50), chat("question 3?", "another answer")])
    assert said == [
        "data.train: 1 prompt has several different answers (the first: data.train[0] line 4); the model learns a mixture of them"
    ]


def test_an_answer_that_stands_once_is_not_repeated(tokenizer: Any) -> None:
    assert not [said for said in findings(tokenizer, rows(2)) if "the same answer" in said]


def test_one_answer_to_most_prompts_is_reported(tokenizer: Any) -> None:
    said = findings(tokenizer, [*rows(20), *(chat(f"other {number}", "I do not know.") for number in range(30))])
    assert said == ["data.train: 30 of 50 rows have the same answer, «I do not know.»; the model may learn to say little else"]


def test_a_test_question_that_differs_by_case_and_punctuation_only_is_reported(tokenizer: Any) -> None:
    test = [*rows(40, 2000), chat("Question 3", "answer", origin="data.test[0] line 9")]
    assert findings(tokenizer, rows(50), test=test) == [
        "data.test: 1 row asks the same as a training row, except for case and punctuation"
        " (data.test[0] line 9 and data.train[0] line 4); its figures are too good"
    ]


def test_a_batch_that_holds_rows_twice_is_reported(tokenizer: Any) -> None:
    said = findings(tokenizer, rows(10), batch=32)
    assert said == [
        "data.train: 10 rows, fewer than training.globalBatchSize 32: one step repeats rows;"
        " lower training.globalBatchSize or give more rows"
    ]


def test_text_in_a_script_that_the_tokenizer_does_not_know_is_reported() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[END]": 1, "answer": 2, "question": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", eos_token="[END]")
    train = [text(f"question answer слово{number}") for number in range(50)]
    said = findings(tokenizer, train, task="language-modeling", test=[text(f"question {number}") for number in range(30)])
    assert said == ["data.train: 25 % of the tokens are unknown to the tokenizer; is the model made for this language?"]


def test_a_conversation_that_the_template_refuses_is_found_among_thousands() -> None:
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{{ m['content'] }}<|im_end|>{% endfor %}"
    )
    train = rows(5000)
    train[3333] = chat("question", "answer", system="Be brief.", origin="data.train[0] line 3334")
    with pytest.raises(InputError, match=r"data\.train\[0\] line 3334: the model's chat template refuses .*no system role"):
        findings(byte_tokenizer(template), train)


def test_every_row_is_looked_at(tokenizer: Any) -> None:
    train = rows(3000)
    train[2222] = chat("q", "a" * 3000, origin="data.train[0] line 2223")
    (said,) = findings(tokenizer, train)
    assert said.startswith("data.train: 1 of 3000 rows (0.0333 %) are cut after 1024 tokens (the first: data.train[0] line 2223)")


def test_of_real_word_problems_only_those_cut_too_short_are_reported(real_data: Path, smollm2: Any) -> None:
    columns = {"prompt": "question", "completion": "answer"}
    files = {name: [source(real_data / "gsm8k" / f"{name}.jsonl", columns=columns)] for name in ("train", "test")}
    settings = train_config(data={**files, "validationFraction": 0.05}, evaluation={"generation": {"maxNewTokens": 512}})
    rows_of_both = prepared(settings)
    assert examine(causal_task(settings), rows_of_both, smollm2, settings) == ()
    # Of the smaller file alone, because each row is tokenized again.
    fractions = {"validationFraction": 0.05, "testFraction": 0.05}
    short = train_config(data={"train": files["test"], **fractions}, training={"epochs": 1, "maxSequenceLength": 128})
    (train, *_) = examine(causal_task(short), prepared(short), smollm2, short)
    assert "nothing is left to learn after the first 128 tokens" in train
