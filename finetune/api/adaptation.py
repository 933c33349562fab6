"""The section of a job that adapts a model to a domain and bounds what it forgets: a corpus, replay, general texts, a budget, a sweep.

The trainer reads it as the user wrote it, but for the paths of its sources. A sentence under each field is its documentation: it
appears in the CRD and so in `kubectl explain`. Tests: tests/finetune/api/test_adaptation.py, tests/integration/test_malformed_jobs.py.
"""

from typing import Annotated

from pydantic import Field

from finetune.api.base import Rule, WireModel, exactly_one
from finetune.api.sources import Fraction, Source

SOURCES_MAX = 8
"""Sources of a list; the API server bounds what the rules of all sources may cost together."""
SWEEP_MAX = 9
"""Positions that are measured: each costs as much as measuring the tuned model."""
Between = Annotated[float, Field(gt=0, lt=1)]
REPLAY, GENERAL, DOMAIN = "domainAdaptation.replay", "domainAdaptation.generalEvaluation", "domainAdaptation.domainEvaluation"
"""The fields that name rows, as the trainer calls their data sets."""
CORPUS, BUDGET = "domainAdaptation.corpus", "domainAdaptation.maxGeneralPerplexityIncreasePercent"


class Replay(WireModel):
    """Rows of another domain that are trained along, so that it is not forgotten (experience replay; Robins 1995)."""

    sources: list[Source] = Field(
        min_length=1,
        max_length=SOURCES_MAX,
        description="Sources of rows of the same task: general texts for language-modeling, labelled rows of a source domain for others."
        " They are neither augmented nor measured, and those that are also held out are left out.",
    )
    share: Between = Field(
        0.05,
        description="Share of the rows of an epoch, training rows and replayed ones together. Replayed rows are spread evenly over the"
        " steps; each is drawn once before any is drawn again, over all epochs.",
    )


class Corpus(WireModel):
    """Plain texts of the domain that the model learns before the task (Gururangan et al. 2020, arXiv:2004.10964)."""

    sources: list[Source] = Field(
        min_length=1,
        max_length=SOURCES_MAX,
        description="Sources of plain texts. Texts of test rows that are among them are learned, without their answers: leave them out.",
    )
    epochs: Annotated[float, Field(gt=0, le=1000)] | None = Field(None, description="Passes over the texts.")
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(None, description="Optimizer steps, instead of epochs.")
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Peak learning rate. Default: training.learningRate."
    )
    max_sequence_length: Annotated[int, Field(ge=8, le=1_048_576)] | None = Field(
        None, description="Tokens of a piece of a text. Default: training.maxSequenceLength."
    )
    validation_fraction: Fraction = Field(0.05, description="Share of the texts that choose the best weights of this stage.")
    test_fraction: Fraction = Field(
        0.05, description="Share of the texts that this stage is measured on, beside domainEvaluation, if that is given."
    )

    rules = (exactly_one("epochs", "max_steps", what=CORPUS),)


class DomainAdaptation(WireModel):
    """Adapt to a domain, and measure and bound what is forgotten of others."""

    corpus: Corpus | None = Field(
        None,
        description="Plain texts of the domain that are learned before the task, not mixed with it, in a run of its own below the output"
        " (adaptation): an encoder fills in masked words, a causal model predicts the next token; an encoder-decoder is refused. Its model"
        " is what the task begins with. The job's method, training, weightDecay and dropout hold in it. With a corpus, replay takes plain"
        " texts, and generalEvaluation, domainEvaluation, budget and sweep apply to this stage only. The report's base figures stay those"
        " of the untouched model.",
    )
    replay: Replay | None = Field(None, description="Rows of other domains that are mixed into training.")
    general_evaluation: list[Source] | None = Field(
        None,
        min_length=1,
        max_length=SOURCES_MAX,
        description="Plain texts that the model should not become worse at. Their perplexity and bits per byte are measured of the base"
        " model, at every validation on some of them, and of the tuned model. Of an encoder that fills in words, the loss of masked tokens"
        " is measured instead. Training rows that are among them are left out.",
    )
    domain_evaluation: list[Source] | None = Field(
        None,
        min_length=1,
        max_length=SOURCES_MAX,
        description="Plain texts of the domain, measured in the same way. Default: the test rows of language-modeling, and the answers of"
        " the test rows of another task whose perplexity is measured.",
    )
    max_general_perplexity_increase_percent: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        None,
        description="Budget: at a validation at which the perplexity of the general texts is more than this above the base model's,"
        " training stops. The best weights are chosen among those within the budget; without any the run fails. Refused for a base with"
        " a randomly initialized head (an encoder whose weights have no head that fills in words) and for random weights.",
    )
    sweep: list[Between] | None = Field(
        None,
        min_length=1,
        max_length=SWEEP_MAX,
        description="Positions between the base model's weights (0) and the tuned ones (1) that are measured at the end, for the trade-off"
        " between domain and general texts (WiSE-FT; Wortsman et al. 2022, arXiv:2109.01903). 0 and 1 are always measured. Left out, as"
        " finetune check says, for method.osf, useDora, adapters of a model whose head is trained beside them, and method.full under"
        " ZeRO stage 3.",
    )

    rules = (
        Rule(
            "has(self.corpus) || has(self.replay) || has(self.generalEvaluation) || has(self.domainEvaluation)",
            lambda section: any((section.corpus, section.replay, section.general_evaluation, section.domain_evaluation)),
            "domainAdaptation: give at least one of corpus, replay, generalEvaluation, domainEvaluation",
        ),
        Rule(
            "!has(self.maxGeneralPerplexityIncreasePercent) || has(self.generalEvaluation)",
            lambda section: section.max_general_perplexity_increase_percent is None or section.general_evaluation is not None,
            "domainAdaptation.maxGeneralPerplexityIncreasePercent: needs generalEvaluation, texts that the budget is measured on",
        ),
        Rule(
            "!has(self.sweep) || has(self.generalEvaluation)",
            lambda section: section.sweep is None or section.general_evaluation is not None,
            "domainAdaptation.sweep: needs generalEvaluation, texts that each position is measured on",
        ),
    )
