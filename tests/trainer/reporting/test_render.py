import io
import json
from typing import Any

import pytest
from rich.console import Console

from tests.trainer.evaluation.builders import report
from trainer.evaluation.metrics.base import Figure
from trainer.reporting.corpus import adapted_before, corpus_lines
from trainer.reporting.render import remarks, render_table


def shown(document: dict[str, Any], width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(render_table(json.loads(json.dumps(document))))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def line(text: str, word: str) -> str:
    return next(row for row in text.splitlines() if word in row)


def test_base_and_tuned_stand_side_by_side_with_the_change() -> None:
    text = shown(report())

    assert line(text, "Perplexity").split() == ["Perplexity", "(lower", "is", "better)", "20.00", "8.00", "▼", "-12.00", "-60", "%"]
    assert line(text, "BLEU").split() == ["BLEU", "2.0", "12.5", "▲", "+10.5", "+525", "%"]
    assert line(text, "Bits per byte").split()[-1] == "="


def test_intervals_and_verdicts_stand_beside_the_change_where_they_are_known() -> None:
    document = report()
    document["final"]["perplexity"]["interval"], document["final"]["wer"]["interval"] = [7.123, 9.0], [0.7, 1.3]
    document["change"]["perplexity"]["verdict"], document["change"]["wer"]["verdict"] = "better", "no clear difference"
    text = shown(document, width=80)

    assert line(text, "Perplexity").split() == ["Perplexity", "20.00", "8.00", "7.12–9.00", "▼", "-12.00", "-60", "%", "better"]
    assert line(text, "WER").split() == ["WER", "0.800", "1.200", "0.700–1.300", "▲", "+0.400", "+50", "%", "unclear"]
    assert "unclear: no clear difference" in text


def test_figures_of_groups_are_shown_below() -> None:
    document = report()
    document["baseline"]["bleu"]["groups"] = {"en-de": {"value": 1.0, "rows": 20}, "de-en": {"value": 3.0, "rows": 10}}
    document["final"]["bleu"]["groups"] = {"en-de": {"value": 10.04, "rows": 20}, "de-en": {"value": None, "rows": 10}}

    assert "BLEU by group: en-de 1.0 → 10.0, de-en 3.0 → -" in shown(document)
    assert "by group" not in shown(report())


def test_texts_as_they_were_given_are_a_column_before_both_models() -> None:
    text = shown(report() | {"unchanged": {"wer": {"value": 0.25}}})

    assert line(text, "metric").split()[:4] == ["metric", "unchanged", "base", "tuned"]
    assert line(text, "WER").split()[-7:-4] == ["0.250", "0.800", "1.200"]
    assert line(text, "BLEU").split()[:4] == ["BLEU", "-", "2.0", "12.5"]


def test_the_title_is_one_line_though_the_table_is_narrower() -> None:
    name = "an-organization/a-model-with-a-long-name"
    document = report(baseline={"wer": Figure(0.8)}, final={"wer": Figure(0.4)})
    document["model"]["name"] = name

    assert f"{name}: base against tuned (40 test rows, 30 of them answered)" in shown(document).splitlines()


def test_the_title_of_a_job_without_answers_has_only_the_rows() -> None:
    document = report(baseline={"accuracy": Figure(0.1)}, final={"accuracy": Figure(0.4)})
    document["rows"]["generated"] = 0
    assert shown(document).splitlines()[0].endswith("base against tuned (40 test rows)")


@pytest.mark.parametrize(
    ("metric", "base", "tuned", "change"),
    [
        pytest.param("bleu", 10, 110, ["▲", "+100.0"], id="ten times more"),
        pytest.param("bleu", 10, 109, ["▲", "+99.0", "+990", "%"], id="a little less than ten times more"),
        pytest.param("bleu", 0.04, 0.2, ["▲", "+0.2"], id="the base is shown as zero"),
        pytest.param("perplexity", 427_389.78, 1.74, ["▼", "-427,388.04"], id="almost all, which is not -100 %"),
        pytest.param("perplexity", 892.35, 8.9, ["▼", "-883.45", "-99", "%"], id="99 %"),
        pytest.param("wer", 0.8, 0, ["▼", "-0.800", "-100", "%"], id="all of it"),
    ],
)
def test_a_percentage_is_shown_only_where_it_says_something(metric: str, base: float, tuned: float, change: list[str]) -> None:
    words = line(shown(report(baseline={metric: Figure(base)}, final={metric: Figure(tuned)})), change[0]).split()

    assert words[words.index(change[0]) :] == change


def test_changes_stay_in_line_where_only_some_have_a_percentage() -> None:
    figures = {"perplexity": Figure(892.35), "chrf": Figure(18.9)}, {"perplexity": Figure(1.12), "chrf": Figure(91.4)}
    text = shown(report(baseline=figures[0], final=figures[1]))

    assert line(text, "▼").index("-891.23") + len("-891.23") == line(text, "▲").index("+72.5") + len("+72.5")


@pytest.mark.parametrize(
    ("metric", "base", "tuned", "color"),
    [("perplexity", 20, 8, "32"), ("perplexity", 8, 20, "31"), ("bleu", 1, 2, "32"), ("bleu", 2, 1, "31"), ("wer", 0.5, 0.9, "31")],
)
def test_green_is_better_and_red_is_worse_whichever_way_the_metric_points(metric: str, base: float, tuned: float, color: str) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system="standard")

    console.print(render_table(report(baseline={metric: Figure(base)}, final={metric: Figure(tuned)}, samples=[])))

    assert f"\x1b[{color}m" in console.file.getvalue()  # type: ignore[attr-defined]


def test_three_prompts_are_shown_with_the_answers_of_both() -> None:
    text = shown(report())

    for number in range(3):
        assert f"base answer {number}" in text
        assert f"tuned answer {number}" in text
    assert "question 3" not in text


def test_a_figure_that_could_not_be_measured_is_a_dash() -> None:
    text = shown(report(baseline={"perplexity": Figure(float("inf"))}))

    assert line(text, "Perplexity").split()[-3:] == ["-", "8.00", "-"]


def test_markup_in_an_answer_is_shown_and_not_obeyed() -> None:
    document = report()
    document["samples"][0]["tuned"] = "[bold]not markup[/bold]"

    assert "[bold]not markup[/bold]" in shown(document)


def test_a_report_without_answers_is_a_table_alone() -> None:
    text = shown(report(samples=[]), width=80)

    assert "Perplexity" in text
    assert "prompt" not in text


def test_a_figure_that_is_left_out_is_a_dash_and_a_reason() -> None:
    missing = Figure(None, reason="0 of 12 references have the 4 tokens that BLEU needs")
    text = shown(report(baseline={"bleu": missing, "wer": Figure(0.5)}, final={"bleu": missing, "wer": Figure(None, reason="why not")}))

    assert line(text, "BLEU").split() == ["BLEU", "-", "-", "-"]
    assert "BLEU is left out: 0 of 12 references have the 4 tokens that BLEU needs" in text
    assert "WER of the tuned model is left out: why not" in text


def test_answers_that_were_cut_are_reported_with_their_share() -> None:
    assert "Answers cut at 128 new tokens: 80% of the base model's, 10% of the tuned model's" in shown(report(cut_answers=(24, 3)))
    assert "Answers cut" not in shown(report())


ADAPTED = {
    "generalPerplexity": {"texts": "domainAdaptation.generalEvaluation", "before": 20.0, "after": 21.0, "interval": [20.5, 21.5],
                          "verdict": "worse"},
    "domainPerplexity": {"texts": "domainAdaptation.domainEvaluation", "before": 40.0, "after": 30.0, "interval": [29.0, 31.0],
                         "verdict": "better"},
    "generalIncreasePercent": 5.0, "generalIncreaseInterval": [2.5, 7.5], "budgetPercent": 10, "withinBudget": True,
    "chosenStep": 20, "exceededAtStep": 30,
    "sweep": [{"position": 0.5, "generalPerplexity": 20.4, "domainPerplexity": 33.0, "generalIncreasePercent": 2.0, "withinBudget": True}],
}  # fmt: skip


def test_general_and_domain_texts_have_rows_and_the_budget_a_line() -> None:
    document = report() | {"domainAdaptation": ADAPTED}
    document["change"]["perplexity"]["verdict"] = "better"
    text = shown(document)
    general, domain = line(text, "General texts").split(), line(text, "Domain texts").split()
    assert general == ["General", "texts", "20.00", "21.00", "20.50–21.50", "▲", "+1.00", "+5", "%", "worse"]
    assert domain == ["Domain", "texts", "40.00", "30.00", "29.00–31.00", "▼", "-10.00", "-25", "%", "better"]
    flat = " ".join(text.split())
    rise = "General perplexity: +5.0 % [+2.5, +7.5], within the budget of 10 %;"
    assert f"{rise} training stopped at step 30, exported weights: step 20" in flat
    assert "Interpolated weights, 50 % tuned: general perplexity 20.40, domain perplexity 33.00" in flat
    assert "guessing" not in flat


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({"budgetPercent": None, "withinBudget": None, "exceededAtStep": None}, " [+2.5, +7.5]; exported weights: step 20"),
        ({"withinBudget": False, "exceededAtStep": None}, ", over the budget of 10 %; exported weights: step 20"),
        ({"exceededAtStep": 40}, "budget of 10 %; exceeded at the last step (40), exported weights: step 20"),
        ({"corpus": {"steps": 30, "totalSteps": 40, "texts": 9}},
         "budget of 10 %; training stopped at step 30, weights after the domain stage: step 20"),
    ],
    ids=["no budget", "over it", "over it at the last step", "of a corpus"],
)  # fmt: skip
def test_the_line_on_general_texts_says_what_the_budget_did(changes: dict[str, Any], ends: str) -> None:
    document = report() | {"domainAdaptation": ADAPTED | changes}
    document["training"]["totalSteps"] = 40
    [line] = [line for line in remarks(document) if line.startswith("General perplexity: +5.0 %")]
    assert line.endswith(ends)


def test_a_job_with_a_corpus_has_the_rows_and_lines_of_any_other() -> None:
    corpus = {"report": "", "texts": 1200, "steps": 30, "totalSteps": 40, "seconds": 1.0, "measuredStep": 20}
    text = shown(report() | {"domainAdaptation": ADAPTED | {"corpus": corpus}})
    assert " 20.00 21.00 " in " ".join(line(text, "General texts").split())
    assert " 40.00 30.00 " in " ".join(line(text, "Domain texts").split())
    assert "Domain stage: 30 steps on 1,200 texts." in text
    assert "Interpolated weights, 50 % tuned:" in text


def test_figures_of_a_base_that_guesses_have_no_verdict_and_no_change() -> None:
    sides = {name: ADAPTED[name] | {"beforeIsGuessing": True, "verdict": None} for name in ("generalPerplexity", "domainPerplexity")}  # type: ignore[operator]
    document = report() | {"domainAdaptation": ADAPTED | sides | {"generalIncreasePercent": None, "generalIncreaseInterval": None}}
    text = " ".join(shown(document).split())
    assert "General texts (lower is better) 20.00 21.00 20.50–21.50 Domain texts" in text
    assert "figures of texts are those of guessing, so they do not show what was learned or forgotten." in text
    assert "General perplexity: " not in text


@pytest.mark.parametrize("new", [{"headIsNew": True}, {"initialization": "random"}], ids=["head", "all"])
def test_the_likelihood_of_test_rows_has_no_verdict_beside_a_base_that_guesses(new: dict[str, Any]) -> None:
    document = report() | {"domainAdaptation": None}
    document["change"]["perplexity"]["verdict"] = "better"
    assert "better" in line(shown(document), "Perplexity")
    for side, value in (("baseline", 20.0), ("final", 8.0)):
        document[side]["perplexity"]["sources"] = {"data.test[0]": {"value": value, "rows": 20, "interval": None}}
    document["change"]["perplexity"]["sources"] = {"data.test[0]": {"verdict": "better"}}
    document |= {"judgedBy": "perplexity"}
    assert "better" in line(shown(document), "data.test[0]")
    document["model"] |= new
    text = shown(document)
    assert not {"better", "▼"} & set(line(text, "data.test[0]").split())
    assert not {"better", "▼"} & set(line(text, "Perplexity").split())
    assert "are those of guessing" in text


KEYS = ["sweep", "budgetPercent", "withinBudget", "chosenStep", "exceededAtStep", "generalIncreasePercent", "generalIncreaseInterval"]


@pytest.mark.parametrize("missing", [*KEYS, "generalPerplexity", "domainPerplexity"])
def test_an_adaptation_without_an_entry_is_shown_without_it(missing: str) -> None:
    adapted = {key: value for key, value in ADAPTED.items() if key != missing}
    assert "Perplexity" in shown(report() | {"domainAdaptation": adapted})


@pytest.mark.parametrize("missing", ["before", "after", "interval", "verdict", "texts"])
def test_texts_without_a_figure_are_shown_without_it(missing: str) -> None:
    side = {key: value for key, value in ADAPTED["generalPerplexity"].items() if key != missing}  # type: ignore[attr-defined]
    assert line(shown(report() | {"domainAdaptation": ADAPTED | {"generalPerplexity": side}}), "General texts")


def test_a_stage_without_a_report_is_said_to_have_none() -> None:
    document = report() | {"domainAdaptation": adapted_before({}, "report.json")}
    assert "Domain stage: its report is missing. The base figures are from before this stage." in " ".join(shown(document).split())
    assert corpus_lines({"corpus": {"steps": 3}})[0].startswith("Domain stage: 3 steps. ")


def test_answers_are_not_called_texts_of_the_domain() -> None:
    adapted = ADAPTED | {"domainPerplexity": ADAPTED["domainPerplexity"] | {"texts": "data.test"}}  # type: ignore[operator]
    assert "Interpolated weights, 50 % tuned: general perplexity 20.40, perplexity of the test rows 33.00" in remarks(
        report() | {"domainAdaptation": adapted}
    )


def test_test_rows_that_are_the_domain_have_no_second_row() -> None:
    adapted = ADAPTED | {"domainPerplexity": ADAPTED["domainPerplexity"] | {"texts": "data.test"}}  # type: ignore[operator]
    assert "Domain texts" not in shown(report() | {"domainAdaptation": adapted})
    assert "General" not in shown(report())


def test_the_figure_that_a_job_is_judged_by_is_shown_for_each_source_of_the_test_rows() -> None:
    document = report(baseline={"accuracy": Figure(0.5)}, final={"accuracy": Figure(0.8)}) | {"judgedBy": "accuracy"}
    document["baseline"]["accuracy"]["sources"] = {"data.test[0]": {"value": 0.4, "rows": 20}, "data.test[1]": {"value": 0.6, "rows": 20}}
    document["final"]["accuracy"]["sources"] = {
        "data.test[0]": {"value": 0.9, "interval": [0.8, 0.95], "rows": 20},
        "data.test[1]": {"value": 0.5, "interval": None, "rows": 20},
    }
    document["change"]["accuracy"] |= {"verdict": "better", "sources": {"data.test[0]": {"verdict": "better"}}}
    document["data"] |= {"sources": [{"field": "data.test[0]", "name": "target.csv"}, {"field": "data.test[1]", "name": "[/]source.csv"}]}
    text = shown(document)
    assert line(text, "target.csv").split() == ["target.csv", "0.400", "0.900", "0.800–0.950", "▲", "+0.500", "+125", "%", "better"]
    assert line(text, "[/]source.csv").split() == ["[/]source.csv", "0.600", "0.500", "▼", "-0.100", "-17", "%"]
