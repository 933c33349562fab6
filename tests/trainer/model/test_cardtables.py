"""The tables of a model card say what the report says."""

from typing import Any

from tests.trainer.evaluation.builders import report
from trainer.model.cardtables import figures_section, rows_section, settings_section, table
from trainer.reporting.report import DataCounts


def figure(document: dict[str, Any], name: str, **more: Any) -> None:
    document["final"][name] |= more


def cells(text: str, heading: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {heading} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_base_and_tuned_are_beside_each_other_with_interval_and_verdict() -> None:
    document = report()
    figure(document, "perplexity", interval=[7.123, 9.0])
    document["change"]["perplexity"]["verdict"] = "better"

    text = figures_section(document)

    assert cells(text, "metric") == ["metric", "base", "tuned", "95 % interval", "rows", "better when", "tuned against base"]
    assert cells(text, "Perplexity") == ["Perplexity", "20.00", "8.00", "7.12 to 9.00", "40", "lower", "better"]
    assert "Measured on 40 test rows, base and tuned model alike; 30 of them answered in text" in text
    assert "- BLEU: `sig`" in text
    assert "40 test rows are few" in text


def test_texts_as_they_were_given_are_a_column_of_their_own() -> None:
    text = figures_section(report() | {"unchanged": {"wer": {"value": 0.3}}})

    assert cells(text, "WER")[:4] == ["WER", "0.300", "0.800", "1.200"]
    assert cells(text, "BLEU")[:4] == ["BLEU", "", "2.0", "12.5"]


def test_without_figures_there_is_no_table_of_them() -> None:
    assert figures_section({"job": {"name": "bot"}}) == ""
    assert figures_section(report(baseline={}, final={})) == ""


def test_rows_have_their_sources_number_and_digest() -> None:
    sources = [{"field": "data.train[0]", "name": "rows.jsonl", "languages": "en to de"}, {"field": "data.train[1]", "name": "org/set"}]
    digests = {"data.train": "aa", "data.validation": "00", "data.test": "bb"}

    text = rows_section(report(data=DataCounts(300, 0, 40, sources=sources, digests=digests)))

    assert cells(text, "training") == ["training", "rows.jsonl (en to de), org/set", "300", "`aa`"]
    assert cells(text, "test") == ["test", "part of the training sources", "40", "`bb`"]
    assert "validation" not in text, "there were none"


def test_settings_have_the_names_that_a_job_gives_them() -> None:
    settings = {"training": {"seed": 42, "learningRate": 0.001}, "method": {"lora": {"rank": 8, "targetModules": ["a", "b"]}, "full": None}}

    text = settings_section(report(hyperparameters=settings))

    assert cells(text, "`training.learningRate`") == ["`training.learningRate`", "0.001"]
    assert cells(text, "`method.lora.targetModules`")[1] == "a, b"
    assert "full" not in text
    assert "10 steps, 2 passes over the rows, 5,000 tokens, 123 trained parameters. The weights are those of step 5." in text


def test_what_would_break_a_table_is_written_so_that_it_does_not() -> None:
    assert table(["a"], [["x|y\nz"]]).splitlines()[-1] == "| x\\|y z |"
