"""How a job names an earlier one that it starts from, and what is said of that: in spec, configuration, record and status.

`model.fineTuneJob` takes the model that the earlier job made; `continueFrom` goes on from its last checkpoint. Both name a job of the
same namespace: the pattern of a name has no room for another. Tests: tests/finetune/api/test_earlierjobs.py.
"""

from typing import Annotated

from pydantic import Field

from finetune.api.base import WireModel

NAME_MAX_LENGTH = 40
"""KubeRay refuses RayJobs whose name has over 47 characters; an attempt's name adds a dash and up to four digits."""
JOB_NAME = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"

ITSELF = "a job cannot start from itself; name an earlier job"

JobName = Annotated[str, Field(max_length=NAME_MAX_LENGTH, pattern=JOB_NAME)]


class JobReference(WireModel):
    """A FineTuneJob of the same namespace."""

    name: JobName = Field(description="Its name; for `finetune run`, `--job NAME=DIR` says where its run is.")


class ContinueFrom(WireModel):
    """The job whose last checkpoint training goes on from."""

    fine_tune_job: JobName = Field(description="Name of a FineTuneJob of the same namespace; `--job NAME=DIR` for `finetune run`.")


class EarlierRun(JobReference):
    """An earlier job as the trainer gets it: with the absolute folder of its output. `uid` is None for a run of a laptop."""

    uid: str | None = None
    path: str


class Continued(WireModel):
    """The earlier job in the trainer's configuration, where a job continues one."""

    fine_tune_job: EarlierRun


class FineTunedModel(JobReference):
    """The earlier job whose model a job began with."""

    name: JobName = Field(description="Name of the job.")
    uid: Annotated[str, Field(max_length=64)] | None = Field(None, description="UID of the job; missing for a run of `finetune run`.")
    step: int | None = Field(None, ge=0, description="Optimizer step of its weights, in that job's count.")
    digest: Annotated[str, Field(max_length=128)] = Field(description="sha256:… of the weights, as that job exported them.")


class ContinuedFrom(JobReference):
    """The earlier run that a job continues."""

    name: JobName = Field(description="Name of the job; a run that was continued in its own folder has its own name.")
    uid: Annotated[str, Field(max_length=64)] | None = Field(None, description="UID of the job; missing for a run of `finetune run`.")
    step: int = Field(ge=0, description="Optimizer step of the checkpoint that training went on from.")
