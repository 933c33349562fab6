"""The earlier jobs that a job starts from: whether they have succeeded, and which were found then.

A job waits until every job that it names has succeeded, whatever became of that one meanwhile: it may be created again, or get more
attempts. What was found then is kept in status, so that neither a deletion nor another job of the same name changes what an attempt reads.
Pure. Test: tests/controller/job/test_earlier.py.
"""

from collections.abc import Callable, Iterable

from controller.job.facts import EarlierFacts, Job
from controller.job.names import output_folder
from controller.job.parsing import StatusUnreadableError, is_managed_elsewhere, job_from
from controller.job.verdict import verdict_on
from controller.namedjobs import names_of_earlier
from controller.runtime.resources import KubeObject
from finetune.api.conditions import phase
from finetune.api.earlierjobs import EarlierRun
from finetune.api.resolve import MODEL_OF_JOB, NamedJob, named_jobs
from finetune.api.sections import Export
from finetune.api.sources import CLAIMS_DIRECTORY
from finetune.api.spec import FineTuneJobSpec
from finetune.api.status import ConditionType, EarlierJob

LONGEST_CHAIN = 100
"""Jobs that are followed to find out whether they wait for each other."""

Find = Callable[[str], KubeObject | None]
"""Returns the FineTuneJob of this name in the job's namespace."""


def recorded(job: Job) -> list[EarlierJob]:
    """Return the earlier jobs in status, as far as the spec names them: somebody may have edited the status."""
    if job.spec is None:
        return []
    named = named_jobs(job.spec)
    return [each for each in job.status.earlier_jobs or [] if NamedJob(each.spec_field, each.name) in named]


def earlier_of(job: Job, find: Find) -> tuple[EarlierFacts, ...]:
    """Return what is known of every job that the spec names: as status has it, else as it is now."""
    if job.spec is None:
        return ()
    known = {each.spec_field: each for each in recorded(job)}
    return tuple(
        EarlierFacts(known[named.field]) if named.field in known else look_at(job, named, find(named.name), find)
        for named in named_jobs(job.spec)
    )


def look_at(job: Job, named: NamedJob, item: KubeObject | None, find: Find) -> EarlierFacts:
    """Return whether a named job is ready to be started from, or why not and what happens then."""
    who = f"{named.field}: the job {named.name}"
    if item is None:
        problem = f"{named.field}: there is no FineTuneJob {named.name} in namespace {job.namespace}"
        return EarlierFacts(problem=f"{problem}; once one of that name has succeeded, this job starts by itself")
    again = "once another of its name has succeeded, this job starts by itself"
    if item["metadata"].get("deletionTimestamp"):
        return EarlierFacts(problem=f"{who} is being deleted; {again}")
    try:
        earlier = job_from(item)
    except StatusUnreadableError as error:
        return EarlierFacts(problem=f"{who} has a status that cannot be read: {error}")
    if earlier.spec is None:
        return EarlierFacts(problem=f"{who} has a spec that cannot be read: {earlier.spec_problem}")
    if named.field == MODEL_OF_JOB and Export.MERGED not in _exports(earlier.spec):
        fix = "with output.export: [merged], or [adapter, merged], it writes one"
        return EarlierFacts(problem=f"{who} exports only an adapter, and a model is needed; {fix}: create it again with that; {again}")
    verdict = verdict_on(earlier.status)
    if verdict is None:
        circle = waits_for_itself(job, find)
        waits = f"; {' and '.join(circle)} wait for each other: create one of them again without it" if circle else ""
        state = phase(earlier.status) if earlier.status.conditions else "Pending"
        return EarlierFacts(problem=f"{who} has not succeeded yet (it is {state}); when it has, this job starts by itself{waits}")
    if verdict.kind is not ConditionType.SUCCEEDED:
        return EarlierFacts(problem=f"{who} has failed ({verdict.reason}); {again}")
    claim = earlier.spec.output.persistent_volume_claim
    return EarlierFacts(EarlierJob(spec_field=named.field, name=earlier.name, uid=earlier.uid, output=claim))


def base_of(job: Job, find: Find) -> FineTuneJobSpec | None:
    """Return the spec that names the weights which this job's earlier jobs began with; None if it names none, or one of them is gone."""
    if job.spec is None or job.spec.model.fine_tune_job is None:
        return None
    for _ in range(LONGEST_CHAIN):
        source = job.spec.model.fine_tune_job if job.spec is not None else None
        if source is None:
            return job.spec
        item, known = find(source.name), {each.uid for each in recorded(job) if each.spec_field == MODEL_OF_JOB}
        if item is None or (known and item["metadata"].get("uid") not in known):
            return None
        try:
            job = job_from(item)
        except StatusUnreadableError:
            return None
    return None


def needed_by(item: KubeObject, others: Iterable[KubeObject]) -> tuple[str, ...]:
    """Return the names of those `others` that will start from this job as it is, and have not written down yet that they found it."""
    return tuple(other["metadata"]["name"] for other in others if _needs(other, item))


def _needs(other: KubeObject, item: KubeObject) -> bool:
    if other["metadata"].get("deletionTimestamp") or is_managed_elsewhere(other):
        return False
    try:
        job = job_from(other)
    except StatusUnreadableError:
        return True  # what it has written down is known to another version of this program, and a deletion is final
    if job.spec is None or verdict_on(job.status) is not None:
        return False
    written = {each.spec_field for each in recorded(job)}
    named = [each for each in named_jobs(job.spec) if each.name == item["metadata"]["name"] and each.field not in written]
    return any(look_at(job, each, item, lambda name: None).job is not None for each in named)


def waits_for_itself(job: Job, find: Find) -> list[str]:
    """Return the jobs of a circle that this one is part of, by name; empty if it is in none."""
    reached, waiting = [job.name], _names_of(job)
    for _ in range(LONGEST_CHAIN):
        if not waiting:
            return []
        name = waiting.pop(0)
        if name == job.name:
            return sorted(reached)
        item = find(name)
        if name not in reached and item is not None:
            reached.append(name)
            waiting += names_of_earlier(item)
    return []


def _names_of(job: Job) -> list[str]:
    return [named.name for named in named_jobs(job.valid_spec)]


def folder_of(earlier: EarlierJob) -> str:
    """Return the folder of an earlier job on its claim."""
    return output_folder(earlier.name, earlier.uid, earlier.output.path)


def run_of(job: Job, named: NamedJob) -> EarlierRun:
    """Return where an attempt's pods find an earlier job's output; ValueError if status has none."""
    found = next((each for each in recorded(job) if each.spec_field == named.field), None)
    if found is None:
        raise ValueError(f"{job.namespace}/{job.name}: {named.field}: status does not say which job {named.name} was found")
    path = f"{CLAIMS_DIRECTORY}/{found.output.claim_name}/{folder_of(found)}"
    return EarlierRun(name=found.name, uid=found.uid, path=path)


def _exports(spec: FineTuneJobSpec) -> list[Export]:
    return spec.output.export or [Export.MERGED if spec.method.lora is None else Export.ADAPTER]
