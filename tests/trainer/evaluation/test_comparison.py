"""A difference that the rows show is told from one that they do not; parts of the rows have figures of their own."""

import json
import math

import numpy as np
import pytest
import sacrebleu

from finetune.api.metrics import METRICS, MetricName, Needs, Verdict, metrics_needing
from tests.trainer.evaluation.metrics.builders import answers_to
from trainer.evaluation.comparison import Certainty, certainty_of, compare
from trainer.evaluation.measurement import Measurement, measured_from
from trainer.evaluation.metrics.evidence import EVIDENCE, Answers, Classified, ClassPrediction, Evidence, Prediction, Tags, TokenRows

GENERATOR = np.random.default_rng(3)
ROWS = 60
NLL = GENERATOR.gamma(2, 20, ROWS)
TOKENS = GENERATOR.integers(5, 30, ROWS)
SOURCES = [f"data.test[{row % 2}]" for row in range(ROWS)]


def tokens(nll: np.ndarray) -> Measurement:
    rows = TokenRows(nll, TOKENS, 4 * TOKENS, Tags.of(SOURCES), Tags.of([""] * ROWS))
    return measured_from(Needs.TOKEN_SUMS, rows, metrics_needing(Needs.TOKEN_SUMS))


def texts(evidence: Answers) -> Measurement:
    return measured_from(Needs.GENERATED_TEXT, evidence, metrics_needing(Needs.GENERATED_TEXT))


@pytest.mark.parametrize(
    ("tuned", "verdict"),
    [
        pytest.param(NLL * 0.9, Verdict.BETTER, id="every row a little better, though rows differ much more"),
        pytest.param(NLL * 1.1, Verdict.WORSE, id="every row a little worse"),
        pytest.param(NLL * np.where(np.arange(ROWS) % 2, 1.2, 0.8), Verdict.UNCLEAR, id="some better and some worse"),
        pytest.param(NLL, Verdict.UNCLEAR, id="the same"),
    ],
)
def test_models_are_compared_row_by_row(tuned: np.ndarray, verdict: Verdict) -> None:
    found = compare(tokens(NLL), tokens(tuned))
    difference, base = found.difference[MetricName.PERPLEXITY], found.base[MetricName.PERPLEXITY].interval
    assert difference.verdict is verdict
    assert (difference.p_value < 0.05) == (verdict is not Verdict.UNCLEAR)
    assert (difference.interval.low <= 0 <= difference.interval.high) == (verdict is Verdict.UNCLEAR)
    value = tokens(NLL).values()[MetricName.PERPLEXITY]
    assert base is not None
    assert base.low < value < base.high


def test_a_higher_score_is_better_where_higher_is() -> None:
    right = [f"the answer number {row} has these words" for row in range(40)]
    wrong = [text if row % 3 else "something else" for row, text in enumerate(right)]
    found = compare(texts(answers_to(right, wrong)), texts(answers_to(right, right)))
    names = (MetricName.BLEU, MetricName.CHRF, MetricName.EXACT_MATCH, MetricName.WER)
    assert [found.difference[name].verdict for name in names] == [Verdict.BETTER] * 4


def test_each_source_has_the_figure_of_its_rows() -> None:
    parts = certainty_of(tokens(NLL))[MetricName.PERPLEXITY].sources
    for number, name in enumerate(("data.test[0]", "data.test[1]")):
        rows = np.arange(ROWS) % 2 == number
        assert parts[name].value == pytest.approx(math.exp(NLL[rows].sum() / TOKENS[rows].sum()))
        assert parts[name].rows == ROWS // 2
        assert parts[name].interval is not None


WORDS = ("red", "green", "blue", "black", "white", "grey")


def evidence_of(needs: Needs) -> Evidence:
    """Return rows of two sources and three groups."""
    sources, groups = [f"data.test[{row % 2}]" for row in range(24)], [f"group {row % 3}" for row in range(24)]
    if needs in (Needs.TOKEN_SUMS, Needs.MASKED_SUMS):
        return TokenRows(NLL[:24], TOKENS[:24], 4 * TOKENS[:24], Tags.of(sources), Tags.of(groups))
    if needs is Needs.CLASSES:
        chances = GENERATOR.dirichlet([1, 1, 1], 24).tolist()
        found = zip(range(24), chances, sources, groups, strict=True)
        return Classified(("a", "b", "c"), tuple(ClassPrediction((row % 3,), tuple(row_of), *tags) for row, row_of, *tags in found))
    texts = [(" ".join(GENERATOR.choice(WORDS, 7)), " ".join(GENERATOR.choice(WORDS, 8))) for _ in range(24)]
    rows = zip(texts, sources, groups, strict=True)
    return Answers(tuple(Prediction("", (right,), given, len(given) > 36, *tags) for (right, given), *tags in rows))


@pytest.mark.parametrize("name", [name for name, facts in METRICS.items() if facts.needs in EVIDENCE])
def test_the_figure_of_a_part_is_that_of_its_rows_alone(name: MetricName) -> None:
    needs = METRICS[name].needs
    evidence = evidence_of(needs)
    found = certainty_of(measured_from(needs, evidence, [name]))[name]
    for parts, tags in ((found.sources, evidence.source), (found.groups, evidence.group)):
        assert list(parts) == list(tags.names)
        for part, rows in tags.parts().items():
            alone = measured_from(needs, evidence.at(rows), [name])
            assert parts[part].value == pytest.approx(alone.values()[name])
            assert parts[part].rows == alone.figures[name].rows


def test_figures_that_count_differently_are_not_compared() -> None:
    def free(answer: str) -> Measurement:
        rows = (Prediction("", (), f"{answer} {row % 7}") for row in range(20))
        return measured_from(Needs.GENERATED_TEXT, Answers(tuple(rows)), [MetricName.DISTINCT_1])

    assert MetricName.DISTINCT_1 in compare(free("some words"), free("other words")).difference
    assert compare(free("some words"), free("猫坐在垫子上")).difference == {}


def test_each_pair_of_languages_has_its_own_bleu() -> None:
    references = ["the cat sits on the mat", "die Katze sitzt auf der Matte", "a dog sleeps in the house"]
    answers = ["the cat sits on a mat", "die Katze liegt auf der Matte", "a dog sleeps at home now"]
    found = certainty_of(texts(answers_to(references, answers, ["de-en", "en-de", "de-en"])))[MetricName.BLEU]
    assert found.groups["de-en"].value == pytest.approx(sacrebleu.corpus_bleu(answers[::2], [references[::2]]).score)
    assert found.groups["en-de"].rows == 1
    assert found.groups["en-de"].interval is None, "few rows say nothing of how rows differ"
    assert found.sources == {}


def test_the_bootstrap_of_a_corpus_figure_is_that_of_its_rows() -> None:
    right = [f"the answer number {row} has these words and {row % 7} more of them" for row in range(50)]
    given = [" ".join(text.split()[: 5 + row % 6]) for row, text in enumerate(right)]
    found = certainty_of(texts(answers_to(right, given)))[MetricName.BLEU].interval
    draws = [np.random.default_rng(seed).integers(0, 50, 50) for seed in range(400)]
    scores = [sacrebleu.corpus_bleu([given[i] for i in draw], [[right[i] for i in draw]]).score for draw in draws]
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.quantile(scores, [0.025, 0.975]).tolist(), abs=1.5)


def test_base_and_tuned_are_compared_after_a_checkpoint_too() -> None:
    base, tuned = tokens(NLL), tokens(NLL * 0.9)
    restored = Measurement.from_state(json.loads(json.dumps(base.to_state())))
    assert compare(restored, tuned) == compare(base, tuned)


@pytest.mark.parametrize("rows", [1, 9], ids=["one row", "rows that may all be better by chance"])
def test_few_rows_and_no_rows_have_no_interval(rows: int) -> None:
    few = Answers((Prediction("", ("yes it is so",), "yes it is so"),) * rows)
    found = compare(texts(few), texts(few))
    assert {(certainty.interval, certainty.no_interval) for certainty in found.base.values()} == {(None, "there are fewer than 10 rows")}
    assert found.difference == {}
    assert compare(Measurement(), Measurement()).base == {}


def test_a_hopeless_model_has_no_interval_and_no_error() -> None:
    found = compare(tokens(np.full(ROWS, math.inf)), tokens(NLL))
    assert found.base[MetricName.PERPLEXITY] == Certainty(
        None, found.base[MetricName.PERPLEXITY].sources, no_interval="too many resamples of the rows have no value"
    )
    assert MetricName.PERPLEXITY not in found.difference


@pytest.mark.parametrize("name", [name for name, facts in METRICS.items() if facts.needs is Needs.GENERATED_TEXT])
def test_every_text_metric_is_resampled(name: MetricName) -> None:
    words = ["red", "green", "blue", "black", "white"]
    right = [" ".join(words[(row + place) % 5] for place in range(6)) for row in range(20)]
    # Every fourth is right, and every fifth is cut.
    given = [right[row] if row % 4 == 0 else " ".join(words[(row * place) % 5] for place in range(6)) for row in range(20)]
    rows = zip(right, given, range(20), strict=True)
    evidence: Evidence = Answers(tuple(Prediction("", (reference,), answer, cut=row % 5 == 0) for reference, answer, row in rows))
    assert certainty_of(measured_from(Needs.GENERATED_TEXT, evidence, [name]))[name].interval is not None


def test_rows_that_are_all_alike_do_not_show_how_far_a_figure_could_be_off() -> None:
    wrong, right = texts(answers_to(["yes"] * 10, ["no"] * 10)), texts(answers_to(["yes"] * 10, ["yes"] * 5 + ["no"] * 5))
    found = compare(wrong, right)
    assert wrong.values()[MetricName.EXACT_MATCH] == 0
    assert found.base[MetricName.EXACT_MATCH] == Certainty(no_interval="every resample of the rows has the same value")
    assert found.tuned[MetricName.EXACT_MATCH].interval is not None
    assert found.tuned[MetricName.EXACT_MATCH].no_interval is None
    assert found.difference[MetricName.EXACT_MATCH].verdict is Verdict.BETTER


def test_a_calibration_error_has_no_interval_because_resamples_are_biased() -> None:
    found = certainty_of(measured_from(Needs.CLASSES, evidence_of(Needs.CLASSES), metrics_needing(Needs.CLASSES)))
    calibration = found.pop(MetricName.CALIBRATION_ERROR)
    other = [measured_from(Needs.CLASSES, evidence_of(Needs.CLASSES), metrics_needing(Needs.CLASSES)) for _ in range(2)]
    assert MetricName.CALIBRATION_ERROR not in compare(*other).difference
    assert (calibration.interval, calibration.no_interval) == (None, "resamples of the rows are biased")
    assert {part.interval for part in calibration.sources.values()} == {None}
    assert all(certainty.interval is not None for certainty in found.values())


def test_the_difference_of_a_source_is_that_of_its_rows_alone() -> None:
    sources = Tags.of(["data.test[0]"] * 12 + ["data.test[1]"] * 12)
    base = TokenRows(NLL[:24], TOKENS[:24], 4 * TOKENS[:24], sources)
    better = np.where(np.arange(24) < 12, 0.5, 1.2)
    tuned = TokenRows(NLL[:24] * better, TOKENS[:24], 4 * TOKENS[:24], sources)
    names = [MetricName.PERPLEXITY, MetricName.BITS_PER_BYTE]
    found = compare(*(measured_from(Needs.TOKEN_SUMS, rows, names) for rows in (base, tuned))).by_source
    for name in names:
        assert {source: difference.verdict for source, difference in found[name].items()} == {
            "data.test[0]": Verdict.BETTER, "data.test[1]": Verdict.WORSE
        }  # fmt: skip
        for source, rows in (("data.test[0]", np.arange(12)), ("data.test[1]", np.arange(12, 24))):
            alone = compare(*(measured_from(Needs.TOKEN_SUMS, side.at(rows), names) for side in (base, tuned)))
            assert found[name][source] == alone.difference[name]
