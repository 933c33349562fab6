"""What is refused and what is told of plain texts before training, and how far the texts of two domains are apart."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.api.errors import InputError
from finetune.api.tasks import ModelFamily
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.tokenizers import byte_tokenizer
from trainer.data.rows import Dataset
from trainer.preflight.adapting import Shift, adaptation_lines, divergence, epoch_rows, refuse_unlikely, replay_findings, shift_of
from trainer.preflight.prepare import prepare
from trainer.preflight.sides import task_on, texts_task
from trainer.tasks.registry import task_of
from trainer.text.example import TextExample


def entropy(counts: Counter[str]) -> float:
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values())


def texts(*given: str) -> list[TextExample]:
    return [TextExample.of(f"row {number}", text) for number, text in enumerate(given)]


def write(path: Path, rows: list[dict[str, Any]]) -> dict[str, str]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"path": str(path)}


def test_the_divergence_is_the_entropy_of_the_mixture_less_that_of_its_parts() -> None:
    one, other = "aaab", "abbc"
    half = {letter: (one.count(letter) + other.count(letter)) for letter in "abc"}
    expected = entropy(Counter(half)) - (entropy(Counter(one)) + entropy(Counter(other))) / 2
    found = divergence(*(np.array([ord(letter) for letter in text]) for text in (one, other)))
    assert found == pytest.approx(expected)
    assert divergence(np.array([1, 2, 2]), np.array([2, 1, 2])) == 0
    assert divergence(np.array([1, 2]), np.array([3, 4, 4])) == pytest.approx(1)


def test_the_shift_counts_tokens_per_word_and_compares_samples_of_equal_size() -> None:
    tokenizer = byte_tokenizer(specials=["<|endoftext|>"])
    task = task_of("language-modeling", ModelFamily.CAUSAL)
    dataset = Dataset(texts("zz zz", "zzzz"), (), (), general=texts("ab", "ab", "ab", "ab"))
    found = shift_of(dataset, task, tokenizer)
    # A token is a byte, the space too: 5 + 4 tokens of 3 words, 2 tokens of one.
    assert found == Shift("data.train", (3.0, 2.0), 1.0, 0.0)
    assert "divergence 1.000 (two halves of the general texts: 0.000)" in found.line()


def test_there_is_no_shift_without_plain_texts_of_the_domain() -> None:
    tokenizer = byte_tokenizer(specials=["<|endoftext|>"])
    chat = task_of("chat", ModelFamily.CAUSAL)
    assert shift_of(Dataset(("row",), (), (), general=texts("ab")), chat, tokenizer) is None
    named = shift_of(Dataset(("row",), (), (), general=texts("ab"), domain=texts("cd")), chat, tokenizer)
    assert named is not None
    assert (named.domain, named.divergence, named.chance) == ("domainAdaptation.domainEvaluation", pytest.approx(1.0), None)


@pytest.mark.parametrize(
    ("task", "family", "why"),
    [
        ("text-classification", ModelFamily.ENCODER, "an encoder whose head was made for the task"),
        ("translation", ModelFamily.SEQ2SEQ, "an encoder-decoder says how likely an answer to a source is"),
    ],
)
def test_texts_that_a_model_gives_no_likelihood_to_are_refused(task: str, family: ModelFamily, why: str) -> None:
    config = train_config(task=task, domainAdaptation={"generalEvaluation": [{"path": "/general.jsonl"}]})
    with pytest.raises(InputError, match=why) as refused:
        refuse_unlikely(config, task_of(task, family))
    assert refused.value.field == "domainAdaptation.generalEvaluation"


@pytest.mark.parametrize(("task", "family"), [("chat", ModelFamily.CAUSAL), ("language-modeling", ModelFamily.ENCODER)])
def test_texts_of_other_models_are_read_as_language_modeling(task: str, family: ModelFamily) -> None:
    learned = task_of(task, family)
    refuse_unlikely(train_config(task=task, domainAdaptation={"generalEvaluation": [{"path": "/general.jsonl"}]}), learned)
    assert texts_task(learned).facts.name == "language-modeling"
    assert task_on(learned, "domainAdaptation.generalEvaluation").family is family
    assert task_on(learned, "domainAdaptation.replay").facts.name == task


def config_of(folder: Path, rows: dict[str, list[str]], share: float = 0.5) -> TrainConfig:
    named = {name: [write(folder / f"{name}.jsonl", [{"text": text} for text in given])] for name, given in rows.items()}
    section: dict[str, Any] = {"replay": {"sources": named["replay"], "share": share}} if "replay" in named else {}
    section |= {field: named[field] for field in ("generalEvaluation", "domainEvaluation") if field in named}
    data = {name: named[name] for name in ("train", "validation", "test") if name in named}
    return train_config(folder, task="language-modeling", data=data, domainAdaptation=section)


def test_rows_that_are_measured_are_neither_trained_nor_replayed(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        {
            "train": ["a", "b", "general", "domain", "test"],
            "test": ["test", "test 2"],
            "validation": ["validation"],
            "replay": ["r", "r", "s", "a", "general", "domain", "test", "validation"],
            "generalEvaluation": ["general", "general 2"],
            "domainEvaluation": ["domain"],
        },
    )
    found = prepare(config, tmp_path / "rows")
    assert {field: [row.text for row in rows] for field, rows in found.sides().items()} == {
        "data.train": ["a", "b"],
        "data.validation": ["validation"],
        "data.test": ["test", "test 2"],
        "domainAdaptation.replay": ["r", "s"],
        "domainAdaptation.generalEvaluation": ["general", "general 2"],
        "domainAdaptation.domainEvaluation": ["domain"],
    }
    for other in ("data.train", "data.test", "data.validation", "domainAdaptation.generalEvaluation", "domainAdaptation.domainEvaluation"):
        words = f"domainAdaptation.replay: 1 row was left out, because the same prompt is in {other}"
        assert sum(finding.startswith(words) for finding in found.findings) == 1, other


def test_training_rows_that_were_not_drawn_are_not_replayed_either(tmp_path: Path) -> None:
    config = config_of(tmp_path, {"train": list("abcdefgh"), "replay": ["r", *"abcdefgh"]})
    found = prepare(config.changed(data=config.data.changed(max_train_rows=2)), tmp_path / "rows")
    assert (len(found.train), [row.text for row in found.replay]) == (2, ["r"])


def test_an_epoch_that_repeats_replay_rows_is_a_finding(tmp_path: Path) -> None:
    config = config_of(tmp_path, {"train": ["a", "b", "c", "d"], "replay": ["r"]})
    found = prepare(config, tmp_path / "rows")
    assert epoch_rows(4, config) == 8
    task, tokenizer = task_of("language-modeling", ModelFamily.CAUSAL), byte_tokenizer(specials=["<|endoftext|>"])
    assert replay_findings(config, task, found, tokenizer) == [
        "domainAdaptation.replay: an epoch draws 4 rows of 1, so each comes 4 times; give more, or lower share"
    ]
    assert replay_findings(config_of(tmp_path, {"train": ["a"], "replay": ["r"]}), task, found, tokenizer)
    fewer = config_of(tmp_path, {"train": ["a"], "replay": ["r"]}, share=0.2)
    assert replay_findings(fewer, task, found, tokenizer) == []
    [line] = adaptation_lines(config, found, None, 4)
    assert line == "replay      1 row; an epoch draws 4, 0.5 of its rows"
