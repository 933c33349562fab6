"""FineTuneJobStatus: what the controller writes back. Figures of arbitrary precision are strings, times are RFC 3339.

`finetune run` writes the same form to DIR/status.json. Tests: tests/finetune/api/.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from finetune.api.base import WireModel
from finetune.api.earlierjobs import ContinuedFrom, FineTunedModel, JobName, JobReference
from finetune.api.metrics import METRICS, Direction, MetricName, Needs
from finetune.api.record import LOG_LINE_MAX, LOG_LINES_MAX, WARNINGS_MAX
from finetune.api.sources import ClaimPath

MEASURED = ", ".join(
    f"{name} ({facts.unit})" if facts.unit else name.value for name, facts in METRICS.items() if facts.needs is not Needs.TRAINING
)
"""The metrics of a model, with their units."""
DEFAULT_WORDS_MAX = 1024
"""As much as is said of one default; a list of 32 tolerations may be longer, and each attempt has it."""


class ConditionType(StrEnum):
    """Conditions of a FineTuneJob."""

    ACCEPTED = "Accepted"
    """The spec can be run. False: the message names the field; or something that it refers to is not there yet."""
    QUEUED = "Queued"
    """Kueue holds the attempt: the reason is the Workload's. Set only for jobs with a queue."""
    RUNNING = "Running"
    REPORTING = "Reporting"
    """What the trainer reports reaches the status. Set only after something has prevented it."""
    STALLED = "Stalled"
    """The trainer has stopped reporting. Set only after it has."""
    CHECKPOINT_AVAILABLE = "CheckpointAvailable"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Condition(WireModel):
    """A standard Kubernetes condition."""

    type: Annotated[str, Field(max_length=316)] = Field(
        description="Accepted, Queued, Running, Reporting, Stalled, CheckpointAvailable, Suspended, Succeeded or Failed; at most one of"
        " each."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether the condition holds.")
    observed_generation: int | None = Field(None, description="metadata.generation of the job when the condition was last set.")
    last_transition_time: datetime = Field(description="When `status` last changed; a new reason or message does not count.")
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")] = Field(
        description="One word for programs, such as SpecInvalid, QuotaExceeded or OutOfMemory."
    )
    message: Annotated[str, Field(max_length=32768)] = Field(description="What happened and what to do about it, for people.")


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    INTERRUPTED = "Interrupted"
    """The pod was told to stop (SIGTERM), and left a checkpoint if training had begun; not charged."""


class FailedPod(WireModel):
    """The first pod of an attempt that was seen to fail, and where: what came after it is mostly its effect."""

    name: str = Field(description="The pod.")
    node: str | None = Field(None, description="The node that it ran on.")
    reason: str | None = Field(None, description="What Kubernetes says of its end, such as OOMKilled, Evicted or Error.")
    exit_code: int | None = Field(None, description="Exit code of the container that ended; 128 + N where signal N ended it.")


class Attempt(WireModel):
    """One RayJob of this job. Written to status before the RayJob exists."""

    number: Annotated[int, Field(ge=1)] = Field(description="1 for the first attempt; the next one is one higher.")
    ray_job_name: str = Field(description="The RayJob, in the job's namespace; the log is `kubectl logs job/NAME` with this name.")
    defaults: list[Annotated[str, Field(max_length=DEFAULT_WORDS_MAX)]] | None = Field(
        None,
        max_length=8,
        description="What the attempt got by the administrator's defaults, where the job says nothing; missing if it got nothing.",
    )
    start_time: datetime | None = Field(None, description="When the RayJob was created.")
    stop_requested_time: datetime | None = Field(
        None,
        description="When the trainer was asked to write a checkpoint and end, because the job was suspended; missing if it was not asked.",
    )
    end_time: datetime | None = Field(None, description="When the attempt was seen to have ended; missing while it runs.")
    outcome: AttemptOutcome | None = Field(
        None,
        description="How the attempt ended; missing while it runs. Only Failed counts against runPolicy.maxAttempts: Suspended was asked"
        " for, and Interrupted means that the pods were told to stop, as when a node is drained.",
    )
    reason: str | None = Field(None, description="Why it ended, in one word, such as OutOfMemory.")
    message: str | None = Field(None, description="Why it ended, in a sentence or two.")
    charged: bool | None = Field(None, description="false where a failure rule left the attempt uncharged; missing otherwise.")
    node: str | None = Field(None, description="Node of the Ray head, where the trainer's driver ran.")
    exit_code: int | None = Field(None, description="Exit code of the trainer's driver, where KubeRay says it; 128 + N for signal N.")
    failed_pod: FailedPod | None = Field(None, description="The first pod of the attempt that was seen to fail; missing if none was.")
    log_tail: list[Annotated[str, Field(max_length=LOG_LINE_MAX)]] | None = Field(
        None,
        max_length=LOG_LINES_MAX,
        description="The last lines of what failed, a rank or the driver, without tokens; kept of the newest three failed attempts.",
    )
    last_step: int | None = Field(None, description="Optimizer steps finished by the newest report, those before a resume included.")
    resumed_from_step: int | None = Field(
        None, description="Step of the checkpoint that the attempt continued from; 0 for one that began at the start."
    )
    peak_tokens_per_second: str | None = Field(
        None, description="The highest progress.tokensPerSecond that the attempt has reported of the job's own training."
    )
    job_reason: str | None = Field(
        None,
        description="Reason of the job's Succeeded or Failed, on the attempt that ended the job; no other attempt follows.",
    )


class Progress(WireModel):
    """How far training is."""

    stage: str | None = Field(
        None,
        description="What the trainer is doing: ReadingData, Starting, RewritingTexts, EvaluatingBaseline, Training, EvaluatingFinal,"
        " Exporting or Finished.",
    )
    run: str | None = Field(
        None,
        description="Which further run of the job the steps are of, such as ablation weightDecay; missing for the job's own.",
    )
    step: int | None = Field(None, description="Optimizer steps finished.")
    total_steps: int | None = Field(None, description="Optimizer steps of the whole run; early stopping may end it before.")
    epoch: str | None = Field(None, description="Passes over the training rows, finished and begun: 1.50 is halfway through the second.")
    percent: int | None = Field(None, description="Share of totalSteps that is finished, rounded down.")
    tokens_seen: int | None = Field(
        None, description="Tokens trained on so far, over all workers: prompts and answers, repeated in each epoch, without padding."
    )
    tokens_per_second: str | None = Field(
        None,
        description="Tokens per second over all workers: of the last 20 training steps, or of all of the attempt until 20 follow an"
        " evaluation or a checkpoint; missing when no attempt runs.",
    )
    slower_percent: int | None = Field(
        None,
        description="By how much tokensPerSecond is below the highest that any attempt of the job has reported, in percent; missing below"
        " 25, and when the job's own training does not run.",
    )
    eta_seconds: int | None = Field(
        None,
        description="Seconds until the last training step, at the recent rate; evaluation and export come on top. Missing when no attempt"
        " runs.",
    )
    last_report_time: datetime | None = Field(None, description="When the newest report of the trainer was taken over.")


class ScoreStatus(WireModel):
    """The figure that the job is judged by, which of two values is the better one, and the step that it was measured at."""

    metric: MetricName = Field(description="The metric that the task is judged by.")
    value: Annotated[str, Field(max_length=32, pattern=r"^-?[0-9]+([.][0-9]+)?(e[-+][0-9]+)?$")] = Field(
        description="The figure, in the metric's unit."
    )
    direction: Direction = Field(description="Which of two values is the better one, the lower or the higher.")
    step: int = Field(description="Optimizer step of the weights that were measured; 0 for the untouched base model.")


class GeneralizationStatus(WireModel):
    """The mean negative log-likelihood, in nats, of a sample of training rows and of the validation rows, measured alike."""

    step: int = Field(description="Optimizer step of the weights that were measured.")
    train_loss: str = Field(description="Of a sample of training rows, without dropout, augmentation and penalties.")
    validation_loss: str = Field(description="Of validation rows, likewise.")
    gap: str = Field(description="validationLoss less trainLoss: what the model knows of its training rows only.")


class AdaptationStatus(WireModel):
    """How likely the model finds general texts, at the newest validation and at last."""

    general_perplexity: str | None = Field(None, description="Perplexity of domainAdaptation.generalEvaluation.")
    general_pseudo_perplexity: str | None = Field(None, description="Of an encoder instead: exp of the loss of masked tokens.")
    general_increase_percent: str | None = Field(None, description="By how much that is above the base model's, in percent.")
    within_budget: bool | None = Field(
        None, description="Whether it is within domainAdaptation.maxGeneralPerplexityIncreasePercent; missing without a budget."
    )


class MetricsStatus(WireModel):
    """Quality figures. baseline (the untouched model) and final are on the same test rows; latest is on the validation rows."""

    baseline: dict[str, str] | None = Field(
        None,
        description="Of the untouched base model on the test rows, measured after training with LoRA and before full fine-tuning,"
        f" by metric: {MEASURED}.",
    )
    latest: dict[str, str] | None = Field(
        None, description="Newest during training, by metric: trainLoss of the last step, the others of the last validation."
    )
    best: ScoreStatus | None = Field(None, description="The best validation so far; its weights become the result.")
    score: ScoreStatus | None = Field(
        None,
        description="The newest score: the base model's where it is measured before training, a validation's, at last the tuned"
        " model's on the test rows.",
    )
    final: dict[str, str] | None = Field(None, description="Of the tuned model on the same test rows as baseline, by metric.")
    compared: dict[str, str] | None = Field(
        None,
        description="Baseline and final by metric, with the 95 % interval of final, whether it is better, and the number of test rows,"
        " such as 14.93 → 9.81 [9.50, 10.10], better, 72 rows.",
    )
    generalization: GeneralizationStatus | None = Field(
        None, description="How much better the model knows its training rows than the validation rows, at the newest validation."
    )
    adaptation: AdaptationStatus | None = Field(None, description="How likely the model finds general texts, if the job measures that.")


class Checkpoint(WireModel):
    """A published checkpoint; `verified` means that its files were read back and their digests agree."""

    step: int = Field(description="Optimizer steps finished when it was written.")
    uri: str = Field(description="Where it is: pvc://CLAIM/FOLDER, or a path on the machine of `finetune run`.")
    size_bytes: int = Field(description="Size of all its files, in bytes.")
    created_time: datetime = Field(description="When it was written.")
    attempt: int = Field(description="Number of the attempt that wrote it.")
    score: ScoreStatus | None = Field(None, description="Of the validation at this step, where there was one.")
    best: bool = Field(
        False,
        description="Whether its score is the best of all checkpoints, with a budget for general texts of those within it; it is kept"
        " whatever its age.",
    )
    within_budget: bool | None = Field(
        None, description="Whether general texts were within domainAdaptation.maxGeneralPerplexityIncreasePercent, where that was measured."
    )
    verified: bool = Field(description="Whether its files were read back and their digests agree.")


class ModelStatus(WireModel):
    """Which weights are trained: source, precision and digest."""

    name: str = Field(description="The model as the job names it.")
    source: str = Field(description="Where its files came from: the hub, a claim, a folder, or a package.")
    precision: str = Field(
        description="Type that the weights are held in, such as float32 or bfloat16, and how they were stored where that is not the same."
    )
    digest: str = Field(description="sha256:… of the weights; two runs with the same one began with the same weights.")
    revision: str | None = Field(None, description="Commit on the hub, for a model from there.")
    parameters: int | None = Field(None, description="Number of parameters of the base model, tied ones counted once.")
    fine_tune_job: FineTunedModel | None = Field(None, description="The job that made the model, where model.fineTuneJob names one.")


class EarlierJob(JobReference):
    """A job that the spec names, as it was found once it had succeeded. Another one of its name is not taken for it."""

    spec_field: Annotated[str, Field(max_length=64)] = Field(description="Field that names it: model.fineTuneJob or continueFrom.")
    name: JobName = Field(description="Name of the job.")
    uid: Annotated[str, Field(max_length=64)] = Field(description="UID of the job.")
    output: ClaimPath = Field(description="Claim of its output, and the folder there that the job's own folder is in.")


class OutputStatus(WireModel):
    """Where the results are."""

    uri: str = Field(description="Folder of the results: pvc://CLAIM/FOLDER, or a path on the machine of `finetune run`.")
    report_uri: str | None = Field(None, description="report.json in it, with all figures and settings; there once the run has finished.")


class Dashboard(WireModel):
    """The Ray dashboard of the current attempt; the token is in the Secret of the RayCluster, key auth_token."""

    service: str = Field(description="Service of the Ray head, in the job's namespace, for `kubectl port-forward service/NAME`.")
    port: int = Field(description="Port of the dashboard at that Service.")
    token_secret: str | None = Field(None, description="Secret with the token that the dashboard asks for, under the key auth_token.")


class Summary(WireModel):
    """What `kubectl get` shows, made from the rest of the status."""

    step: str | None = Field(None, description="Steps finished of all, such as 120/400.")
    progress: str | None = Field(None, description="progress.percent with its sign, such as 30%.")
    eta: str | None = Field(None, description="progress.etaSeconds as kubectl writes ages, such as 12m; missing when no attempt runs.")
    score: str | None = Field(None, description="metrics.score with its metric, such as perplexity 14.93.")
    attempt: int | None = Field(None, description="Number of the newest attempt.")
    reason: str | None = Field(None, description="Why the job is not running, in one word; missing while it runs.")


class FineTuneJobStatus(WireModel):
    """Observed state of a FineTuneJob."""

    observed_generation: int | None = Field(None, description="metadata.generation of the job that this status is about.")
    conditions: list[Condition] | None = Field(
        None,
        max_length=16,
        description="What is true of the job, one entry per type; `kubectl wait --for=condition=Succeeded` waits for one.",
    )
    phase: str | None = Field(
        None,
        description="One word for all conditions, for the printer column only: Pending, Invalid, Waiting, Queued, Starting, Running,"
        " Retrying, Suspended, Succeeded or Failed.",
    )
    attempts: list[Attempt] | None = Field(
        None, max_length=200, description="The RayJobs of this job, oldest first; an entry is written before its RayJob exists."
    )
    waiting_since: datetime | None = Field(
        None,
        description="Since when the job waits for what it needs to run and to report; the condition Accepted or Running says for what."
        " Missing while it runs, rests, pauses or is in a queue.",
    )
    active_seconds: int | None = Field(
        None,
        description="How long the job has run, over all its attempts, up to the last time that it stopped running; while it runs, the time"
        " since the last transition of the condition Running is to be added.",
    )
    progress: Progress | None = Field(None, description="How far training is, by the trainer's newest report.")
    metrics: MetricsStatus | None = Field(
        None,
        description="Quality figures. baseline (the untouched model) and final are on the same test rows; latest and best are of training"
        " and validation.",
    )
    checkpoints: list[Checkpoint] | None = Field(None, max_length=64, description="Published checkpoints that are kept, in order of steps.")
    model: ModelStatus | None = Field(None, description="Which weights are trained: source, precision and digest.")
    continued_from: ContinuedFrom | None = Field(None, description="The run whose last checkpoint training went on from.")
    earlier_jobs: list[EarlierJob] | None = Field(
        None,
        max_length=2,
        description="The jobs that the spec names, as each was found once it had succeeded. They may be deleted since: the claims that"
        " their results are on must stay.",
    )
    output: OutputStatus | None = Field(None, description="Where the results are.")
    dashboard: Dashboard | None = Field(None, description="The Ray dashboard of the attempt that runs; missing when none does.")
    warnings: list[str] | None = Field(
        None, max_length=WARNINGS_MAX, description="What the trainer found worth a look; training continues."
    )
    summary: Summary | None = Field(None, description="Computed from the rest, for the printer columns only.")
    report_cursor: str | None = Field(
        None, description="Attempt, Ray cluster and sequence number of the newest progress report that was taken over."
    )
