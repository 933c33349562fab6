"""Answers found in texts, from rows to a model that plain transformers loads in another process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune.api.tasks import TaskName
from finetune.api.using import ChosenModel, Predict
from tests.trainer.fixtures.using import using
from tests.trainer.rank.span_ranks import METHODS, config, prepare, rows
from tests.trainer.rank.test_results import run
from trainer.using.found import find
from trainer.using.predict import predict

BOTH = ["adapter", "merged"]
RELOAD = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

folder, base, questions = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
models = [AutoModelForQuestionAnswering.from_pretrained(f"{folder}/merged").eval()]
if base:
    models.append(PeftModel.from_pretrained(AutoModelForQuestionAnswering.from_pretrained(base), f"{folder}/adapter").eval())
tokenizer = AutoTokenizer.from_pretrained(f"{folder}/merged")
answers = []
for model in models:
    for question, context in questions:
        inputs = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
        offsets = inputs.pop("offset_mapping")[0].tolist()
        inside = torch.tensor([part == 1 for part in inputs.sequence_ids()])
        with torch.no_grad():
            found = model(**inputs)
        start, end = (scores[0].masked_fill(~inside, -1e9) for scores in (found.start_logits, found.end_logits))
        sums = (start[:, None] + end[None, :]).triu()
        sums[sums == 0] = -1e9
        best = int(sums.argmax())
        first, last = best // len(end), best % len(end)
        nothing = float(found.start_logits[0, 0] + found.end_logits[0, 0])
        answers.append("" if nothing > float(sums.max()) else context[offsets[first][0] : offsets[last][1]])
print(json.dumps(answers))
"""


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("method", "rate", "learned"), [("full", 0.002, 95), ("lora", 0.01, 60)])
def test_a_model_learns_to_find_answers_and_other_programs_find_the_same(tmp_path: Path, method: str, rate: float, learned: int) -> None:
    folder, forms = prepare(tmp_path), BOTH if method == "lora" else BOTH[1:]
    run(config(folder, method=METHODS[method], training__learningRate=rate, output__export=forms))

    report = report_of(folder / "run")
    assert report["judgedBy"] == "squadF1"
    assert report["final"]["squadF1"]["value"] > learned > 40 > report["baseline"]["squadF1"]["value"]
    assert (report["answers"], report["rows"]["generated"]) == (None, 0), "a part of a text is not written, and no limit cuts it"

    questions = [(row["question"], row["context"]) for row in rows(48, 9)]
    base = str(folder / "base") if method == "lora" else ""
    command = [sys.executable, "-c", RELOAD, str(folder / "run" / "model"), base, json.dumps(questions)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    answers = predicted(folder / "run" / "model" / "merged", questions, tmp_path)
    assert found == [answer["answer"] for answer in answers] * (2 if method == "lora" else 1)
    assert "" in found, "the model says where there is no answer"
    for (_, context), answer in zip(questions, answers, strict=True):
        assert (answer["start"] is None) == (answer["answer"] == "")
        assert answer["start"] is None or context[answer["start"] : answer["end"]] == answer["answer"]


def predicted(folder: Path, questions: list[tuple[str, str]], scratch: Path) -> list[dict[str, Any]]:
    """Return the answers of an exported model, as `finetune predict` finds them."""
    given, output = scratch / "questions.jsonl", scratch / "answers.jsonl"
    given.write_text("".join(json.dumps({"question": question, "context": context}) + "\n" for question, context in questions))
    chosen = ChosenModel(name=str(folder), task=TaskName.QUESTION_ANSWERING)
    predict(Predict(model=chosen, input=given, output=output), using(folder, task=chosen.task), find(chosen), lambda _: None)
    return [json.loads(line)["answer"] for line in output.read_text().splitlines()]
