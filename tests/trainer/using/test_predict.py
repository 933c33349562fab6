"""Answers are those of plain transformers, in the order of the rows, whatever is answered at once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune.api.errors import InputError
from finetune.api.tasks import TaskName
from finetune.api.using import ChosenModel, Decoding, Predict
from tests.trainer.fixtures.encoders import bert_tokenizer, save_encoder
from tests.trainer.fixtures.using import using
from trainer.data.spanrow import TAIL
from trainer.using.found import find
from trainer.using.loading import Loaded
from trainer.using.predict import NO_LANGUAGES, predict

PROMPTS = ["a job", "what is a checkpoint?", "trains", "the controller starts a run and reports its progress", "rows"]
NEW_TOKENS = 12


def lines(loaded: Loaded, trained: Path, tmp_path: Path, **options: Any) -> list[dict[str, Any]]:
    """Return what is written for the prompts as rows of a file."""
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"message": prompt}) + "\n" for prompt in PROMPTS))
    output = tmp_path / f"out{len(list(tmp_path.iterdir()))}.jsonl"
    model = ChosenModel(name=str(trained))
    wanted = Predict(model=model, input=tmp_path / "in.jsonl", output=output, max_new_tokens=NEW_TOKENS, **options)
    predict(wanted, loaded, find(model), lambda _: None)
    return [json.loads(line) for line in output.read_text().splitlines()]


def by_transformers(folder: Path, prompt: str, **options: Any) -> str:
    """Return the answer as a user of the exported folder gets it, with nothing of ours."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    given = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt")
    tokens = model.generate(**given, max_new_tokens=NEW_TOKENS, **options)[0, given["input_ids"].shape[1] :]
    return str(tokenizer.decode(tokens, skip_special_tokens=True)).strip()


@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_those_of_plain_transformers_and_come_in_order(run: Path, tmp_path: Path, beams: int) -> None:
    found = lines(using(run), run, tmp_path, decoding=Decoding(beams=beams), batch_size=2)

    assert [line["input"] for line in found] == PROMPTS
    expected = [by_transformers(run / "model" / "merged", prompt, do_sample=False, num_beams=beams) for prompt in PROMPTS]
    assert [line["answer"] for line in found] == expected
    assert len(set(expected)) > 1, "the test needs prompts with different answers"


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(temperature=0.8, top_p=0.9, top_k=40, seed=5)], ids=["greedy", "drawn"])
def test_an_answer_does_not_depend_on_what_is_answered_at_once(loaded: Loaded, trained: Path, tmp_path: Path, decoding: Decoding) -> None:
    alone = lines(loaded, trained, tmp_path, decoding=decoding, batch_size=1)

    assert all(lines(loaded, trained, tmp_path, decoding=decoding, batch_size=size) == alone for size in (2, 8))


def test_another_seed_draws_other_answers(loaded: Loaded, trained: Path, tmp_path: Path) -> None:
    first, second = (lines(loaded, trained, tmp_path, decoding=Decoding(temperature=1, seed=seed)) for seed in (0, 1))

    assert first != second


def test_the_base_answers_beside(loaded: Loaded, trained: Path, tmp_path: Path) -> None:
    found = lines(loaded, trained, tmp_path, base=True)

    alone = lines(using(trained.parent / "base"), trained, tmp_path)
    assert [line["base"] for line in found] == [line["answer"] for line in alone]
    assert [line["answer"] for line in found] != [line["base"] for line in found]


def test_what_the_limit_cut_is_marked(loaded: Loaded, trained: Path, tmp_path: Path) -> None:
    assert {line.get("cut") for line in lines(loaded, trained, tmp_path)} <= {True, None}
    assert any("cut" in line for line in lines(loaded, trained, tmp_path))


def test_a_row_that_asks_nothing_keeps_its_line(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("prompt,id\n,1\na job,2\n")
    output, model = tmp_path / "out.jsonl", ChosenModel(name=str(run))

    predict(Predict(model=model, input=tmp_path / "in.csv", output=output, max_new_tokens=2), using(run), find(model), lambda _: None)

    first, second = map(json.loads, output.read_text().splitlines())
    assert first == {"input": None, "answer": None, "leftOut": "'prompt' is empty"}
    assert second["input"] == "a job"


def test_a_prompt_is_answered_on_standard_output(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ChosenModel(name=str(run))

    for base in (False, True):
        wanted = Predict(model=model, prompt="a job", max_new_tokens=NEW_TOKENS, base=base)
        predict(wanted, using(run, base=base), find(model, base=base), lambda _: None)

    answer = by_transformers(run / "model" / "merged", "a job", do_sample=False)
    plain, *labelled = capsys.readouterr().out.split("\n")
    assert plain == answer
    assert labelled[0].startswith("base:  ")
    assert labelled[1] == f"tuned: {answer}"


@pytest.mark.parametrize("prompt", ["", "  "])
def test_an_empty_prompt_is_refused(run: Path, prompt: str) -> None:
    model = ChosenModel(name=str(run))

    with pytest.raises(InputError, match=r"^--prompt: 'prompt' is empty"):
        predict(Predict(model=model, prompt=prompt), using(run), find(model), lambda _: None)


def test_an_answer_that_leaves_no_room_for_a_prompt_is_refused(run: Path) -> None:
    model = ChosenModel(name=str(run))

    with pytest.raises(InputError, match=r"^--max-new-tokens: 128 leaves no room for a prompt: the model reads 128 tokens"):
        predict(Predict(model=model, prompt="a job", max_new_tokens=128), using(run), find(model), lambda _: None)


def test_nothing_is_computed_with_a_graph(loaded: Loaded) -> None:
    assert not loaded.tuned.engine.forward(input_ids=torch.tensor([[5, 6]])).requires_grad


@pytest.mark.parametrize(("learned", "read"), [(None, 384), (60, 60), (450, 450)])
def test_a_text_is_read_in_windows_as_long_as_the_rows_that_the_model_learned(tmp_path: Path, learned: int | None, read: int) -> None:
    folder = save_encoder(tmp_path / "m", "AutoModelForQuestionAnswering", tokenizer=bert_tokenizer(), max_position_embeddings=500)
    loaded, lengths = using(folder, task=TaskName.QUESTION_ANSWERING), list[int]()
    loaded.tuned.engine.model.register_forward_pre_hook(
        lambda _, __, inputs: lengths.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    model = ChosenModel(name=str(folder))
    wanted = Predict(model=model, prompt="Who came?", beside={"context": "Ann came on Monday. " * 60}, output=tmp_path / "answer.json")

    predict(wanted, loaded, replace(find(model), max_length=learned), lambda _: None)

    assert max(lengths) == read - TAIL


def test_that_no_languages_are_known_is_said(saved_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, said = ChosenModel(name=str(saved_model), task=TaskName.TRANSLATION), list[str]()
    loaded = using(saved_model, task=TaskName.TRANSLATION)

    for languages in (None, ("de", "en")):
        predict(Predict(model=model, prompt="a job", languages=languages, max_new_tokens=2), loaded, find(model), said.append)

    assert said == [NO_LANGUAGES]
    assert len(capsys.readouterr().out.splitlines()) >= 2
