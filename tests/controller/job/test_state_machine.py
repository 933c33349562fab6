"""Whatever happens to a job, in whatever order: the decisions keep to the rules, and the job ends when the world lets it.

The world is a model: what KubeRay, the kubelet, the trainer, users and crashes may do at any time, and passes of the controller in
between, which see everything and may die between two writes. Each decision is checked as it is made.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from controller.job.facts import Kueue, Observed, PodFacts, RayJobFacts, WorkloadFacts
from controller.job.failures import ray_job_state
from controller.job.history import rebuilt
from controller.job.plan import POLICIES, plan
from controller.job.situation import CreateAttempt, Delete, Plan, ReleaseProgress, RestoreSupports
from controller.kinds import FINE_TUNE_JOBS
from finetune.api import attempts
from finetune.api.conditions import Phase, get_condition, is_true
from finetune.api.cursor import Cursor
from finetune.api.runpolicy import FREE_RETRIES, RunPolicy
from finetune.api.status import ConditionType, FineTuneJobStatus
from tests.controller.job.builders import NOW, job, record_text
from tests.controller.job.obstacles import COUNTED, DECIDED, UNSAFE, Obstacles

pytestmark = pytest.mark.fault

ENDS = (ConditionType.SUCCEEDED, ConditionType.FAILED)
WORDS = [("", ""), ("", "Initializing"), ("PENDING", "Running"), ("RUNNING", "Running"), ("", "Suspended"), ("DREAMING", "Baking")]
FINAL_WORDS = [("SUCCEEDED", "Complete"), ("FAILED", "Failed"), ("STOPPED", "Complete"), ("", "ValidationFailed")]
OUTCOMES = ["Succeeded", "Failed", "InputInvalid", "Interrupted"]
RULES = [{"action": "RetryWithoutCharge", "podReasons": ["Evicted"]}, {"action": "Fail", "exitCodes": [42]}]
LIMITS: dict[str, list[int | None]] = {
    "max_attempts": [1, 2, 3],
    "active_deadline_seconds": [None, 60, 600],
    "pending_deadline_seconds": [None, 60, 600],
    "stall_timeout_seconds": [None, 300],
    "ttl_seconds_after_finished": [None, 0, 600],
}
PERMITTED = {
    (None, "Succeeded"), (None, "Failed"), (None, "Suspended"), (None, "Interrupted"),
    ("Suspended", "Succeeded"), ("Failed", "Succeeded"), ("Interrupted", "Succeeded"),
}  # fmt: skip
"""How the outcome of an attempt may change: once, and to a success if its RayJob succeeded after all."""
ENDS_IN_A_QUEUE = {"DeadlineExceeded", "PendingDeadlineExceeded", "WasInputInvalid"}
"""What an attempt may fail of while a queue holds it: its user's own limits, and what its driver found before."""


class Lifecycle(Obstacles):
    """A job and its world."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.policy = RunPolicy.model_validate({"failureRules": RULES})
        self.most_attempts = self.policy.max_attempts
        self.status = FineTuneJobStatus()
        self.ray_jobs: dict[int, RayJobFacts] = {}
        self.pods: dict[str, PodFacts] = {}
        self.record: str | None = None
        self.sequence = self.clusters = 0
        self.gone = False
        self.queue, self.evicted = "", dict[int, str]()
        """The job's queue, and by attempt the last Ray cluster that was evicted."""

    @initialize(
        limits=st.fixed_dictionaries({field: st.sampled_from(values) for field, values in LIMITS.items()}), queue=st.sampled_from(["", "a"])
    )
    def a_job_is_created(self, limits: dict[str, int | None], queue: str) -> None:
        self.queue = queue
        self.policy = self.policy.changed(**limits)
        self.most_attempts = self.policy.max_attempts

    # What the controller does.

    def observed(self) -> Observed:
        present = tuple(self.ray_jobs.values()) if self.kuberay else ()
        seen = self.seen(replace(job(status=self.status), run_policy=self.policy))
        seen = replace(seen, status=rebuilt(seen, present, []))
        there = self.ray_jobs if self.kuberay else {}
        workload = self.workload(there.get(seen.status.attempts[-1].number)) if seen.status.attempts else None
        attempt = attempts.unfinished(seen.status)
        current = there.get(attempt.number) if attempt is not None else None
        facts = {"record": self.record if self.kuberay else None, "kueue": Kueue.WATCHED, "workload": workload}
        facts |= self.obstacles(current, suspended=self.policy.suspend)
        return Observed(job=seen, ray_jobs=present, pods=tuple(self.pods.values()), **facts)  # type: ignore[arg-type]

    def workload(self, ray_job: RayJobFacts | None) -> WorkloadFacts | None:
        if ray_job is None or not ray_job.queue:
            return None
        evicted = ray_job.suspended and ray_job.attempt in self.evicted
        return WorkloadFacts("w", "a", admitted=not ray_job.suspended, evicted=evicted, reason="Preempted" if evicted else "Pending")

    def a_pass(self, survives: int = 100) -> Plan:
        """Decide, and carry out `survives` writes before the process dies."""
        what = self.observed()
        decision = plan(what, self.now, COUNTED)
        self.check(what.job.status, decision)
        for action in decision.actions[:survives]:
            if isinstance(action, CreateAttempt):
                self.create(action.number)
            elif isinstance(action, Delete) and action.resource == FINE_TUNE_JOBS:
                assert any(is_true(self.status, kind) for kind in ENDS)
                self.gone = True
                return decision
            elif isinstance(action, Delete):
                self.delete(next(each.attempt for each in self.ray_jobs.values() if each.name == action.name))
            elif isinstance(action, RestoreSupports | ReleaseProgress):
                self.carry_out(action)
        if survives >= len(decision.actions) + 1:
            self.status = FineTuneJobStatus.model_validate(decision.status.to_wire())
        return decision

    def check(self, before: FineTuneJobStatus, decision: Plan) -> None:
        """Compare what is decided with what is stored: what may never happen."""
        after = decision.status
        old, new = {a.number: a for a in before.attempts or []}, {a.number: a for a in after.attempts or []}
        assert list(new) == sorted(new)
        assert set(old) <= set(new)
        assert len(new) - len(old) <= 1
        for number, attempt in old.items():
            change = (attempt.outcome, new[number].outcome)
            assert change[0] == change[1] or change in PERMITTED, change
        for kind in ENDS:
            if is_true(self.status, kind):
                succeeded = any(ray_job_state(each) == "Succeeded" for each in self.ray_jobs.values())
                assert is_true(after, kind) or (kind is ConditionType.FAILED and succeeded)
                assert set(new) == set(old), "no attempt follows an end"
                assert not decision.creates
        for each in self.ray_jobs.values():
            held = each.suspended and each.queue and not each.deleting and not ray_job_state(each).final
            if held and each.attempt in old and old[each.attempt].outcome is None and new[each.attempt].outcome == "Failed":
                assert new[each.attempt].reason in ENDS_IN_A_QUEUE, "an eviction is no failure"
        past, now = Cursor.parse(before.report_cursor), Cursor.parse(after.report_cursor)
        if now is not None and now != past and now.attempt in self.ray_jobs:
            assert now.cluster == self.ray_jobs[now.attempt].cluster, "a report of a cluster that was evicted"
        if past is not None:
            assert now is not None
            assert (now.attempt, now.sequence) >= (past.attempt, past.sequence)
        assert (after.active_seconds or 0) >= (before.active_seconds or 0)
        assert attempts.freed(after) <= FREE_RETRIES
        assert not (is_true(after, ConditionType.SUCCEEDED) and is_true(after, ConditionType.FAILED))
        assert decision.requeue_after is None or decision.requeue_after >= 0
        assert not (decision.creates and self.policy.suspend)
        assert not decision.creates or self.nothing_prevents_it()

    def create(self, number: int) -> None:
        """Create the RayJob of an attempt, unless it is there: no other may be alive."""
        assert not [each for each in self.ray_jobs.values() if each.attempt != number and not ray_job_state(each).final]
        if number in self.ray_jobs:
            return
        assert not [each for each in self.pods.values() if each.trains], "two writers"
        self.clusters += 1
        name = f"bot-{number}"
        self.ray_jobs[number] = RayJobFacts(name, f"uid-{self.clusters}", number, self.now, queue=self.queue, suspended=bool(self.queue))
        self.evicted.pop(number, None)
        if not self.queue:
            self.start(number)

    def start(self, number: int) -> None:
        self.clusters += 1
        name = f"bot-{number}"
        self.ray_jobs[number] = replace(self.ray_jobs[number], suspended=False, cluster=f"{name}-{self.clusters}")
        self.pods[name] = PodFacts(f"{name}-head", number, "head")

    def delete(self, number: int) -> None:
        self.ray_jobs[number] = replace(self.ray_jobs[number], deleting=True)

    @precondition(lambda self: not self.gone)
    @rule(survives=st.sampled_from([0, 1, 2]))
    def the_controller_dies(self, survives: int) -> None:
        self.a_pass(survives)

    @precondition(lambda self: not self.gone)
    @rule(passes=st.integers(1, 6))
    def the_controller_works(self, passes: int) -> None:
        """Pass again and again, whenever the controller has asked to be called."""
        for _ in range(passes):
            again = self.a_pass().requeue_after
            if self.gone:
                return
            self.now += timedelta(seconds=min(again or 0.0, 20.0))

    @rule(seconds=st.sampled_from([15, 61, 301, 700]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    # What users do.

    @rule(data=st.data())
    def the_user_changes_the_job(self, data: st.DataObject) -> None:
        field = data.draw(st.sampled_from(["suspend", *sorted(LIMITS)]))
        if field == "suspend":
            self.policy = self.policy.changed(suspend=not self.policy.suspend)
            return
        self.policy = self.policy.changed(**{field: data.draw(st.sampled_from(LIMITS[field]))})
        self.most_attempts = max(self.most_attempts, self.policy.max_attempts)

    @precondition(lambda self: self.ray_jobs)
    @rule(data=st.data())
    def somebody_deletes_a_ray_job(self, data: st.DataObject) -> None:
        self.delete(data.draw(st.sampled_from(sorted(self.ray_jobs))))

    # What KubeRay, the kubelet and the trainer do.

    @precondition(lambda self: self.ray_jobs)
    @rule(data=st.data(), words=st.sampled_from(WORDS))
    def kuberay_goes_on(self, data: st.DataObject, words: tuple[str, str]) -> None:
        number = data.draw(st.sampled_from(sorted(self.ray_jobs)))
        self.say(number, *words)

    @precondition(lambda self: self.ray_jobs)
    @rule(data=st.data(), words=st.sampled_from(FINAL_WORDS), code=st.sampled_from([1, 2, 3, 42, 137]))
    def a_ray_job_ends(self, data: st.DataObject, words: tuple[str, str], code: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.ray_jobs)))
        self.say(number, *words, message=f"Job entrypoint command failed with exit code {code}")

    def say(self, number: int, job_status: str, deployment_status: str, message: str = "") -> None:
        present = self.ray_jobs[number]
        if not ray_job_state(present).final:
            self.ray_jobs[number] = replace(present, job_status=job_status, deployment_status=deployment_status, message=message)

    # What Kueue does.

    @precondition(lambda self: self.held())
    @rule()
    def kueue_admits(self) -> None:
        number = self.held()[-1]
        self.start(number)
        self.say(number, "", "Initializing")

    def held(self) -> list[int]:
        there = sorted(self.ray_jobs.items())
        return [number for number, each in there if each.suspended and not each.deleting and not ray_job_state(each).final]

    @precondition(lambda self: self.admitted())
    @rule(words=st.sampled_from([("RUNNING", "Running"), ("RUNNING", "Suspending"), ("", "Suspended")]))
    def kueue_evicts(self, words: tuple[str, str]) -> None:
        """Take the newest attempt's cluster down; its driver is asked to stop, and says so."""
        number = self.admitted()[-1]
        present = self.ray_jobs[number]
        self.report(number, "Interrupted")
        self.evicted[number] = present.cluster
        gone = words[1] == "Suspended"
        self.ray_jobs[number] = replace(present, suspended=True, cluster="" if gone else present.cluster)
        self.say(number, *words)
        if gone:
            self.pods.pop(f"bot-{number}", None)

    def admitted(self) -> list[int]:
        there = sorted(self.ray_jobs.items())
        return [n for n, each in there if each.queue and not (each.suspended or each.deleting or ray_job_state(each).final)]

    @precondition(lambda self: self.outlived())
    @rule(outcome=st.sampled_from([None, *OUTCOMES]))
    def an_evicted_cluster_reports_late(self, outcome: str | None) -> None:
        number = self.outlived()[-1]
        self.report(number, outcome, self.evicted[number])

    def outlived(self) -> list[int]:
        """Return the attempts whose evicted cluster is not the present one."""
        return [n for n, cluster in sorted(self.evicted.items()) if n in self.ray_jobs and self.ray_jobs[n].cluster != cluster]

    @precondition(lambda self: self.queue and not self.gone)
    @rule(outcome=st.sampled_from([None, *OUTCOMES]), admitted=st.booleans())
    def an_attempt_is_evicted_in_mid_run(self, outcome: str | None, admitted: bool) -> None:
        """The whole of it: the attempt trains, is evicted, and its driver reports late, perhaps beside the next cluster."""
        self.an_attempt_trains(0)
        if self.admitted():
            self.kueue_evicts(("", "Suspended"))
            self.the_controller_works(1)
            if admitted and self.held() and not self.gone:
                self.kueue_admits()
            if self.outlived() and not self.gone:
                self.an_evicted_cluster_reports_late(outcome)
                self.now += timedelta(seconds=20)
                self.the_controller_works(1)

    @precondition(lambda self: any(each.deleting for each in self.ray_jobs.values()))
    @rule()
    def what_is_deleted_goes(self) -> None:
        self.ray_jobs = {number: each for number, each in self.ray_jobs.items() if not each.deleting}

    @precondition(lambda self: self.pods)
    @rule(data=st.data())
    def a_pod_fails(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.pods)))
        reason = data.draw(st.sampled_from(["Evicted", "Error"]))
        self.pods[name] = replace(self.pods[name], failed=True, reasons=(reason,), exit_code=137)

    @precondition(lambda self: self.orphans())
    @rule()
    def pods_without_a_cluster_go(self) -> None:
        self.pods = {name: pod for name, pod in self.pods.items() if name not in self.orphans()}

    def orphans(self) -> set[str]:
        alive = {each.attempt for each in self.ray_jobs.values() if not ray_job_state(each).final and not each.deleting}
        return {name for name, pod in self.pods.items() if pod.attempt not in alive}

    @precondition(lambda self: self.ray_jobs)
    @rule(data=st.data(), outcome=st.sampled_from([None, None, None, *OUTCOMES]))
    def the_trainer_reports(self, data: st.DataObject, outcome: str | None) -> None:
        number = data.draw(st.sampled_from(sorted(self.ray_jobs)))
        self.report(number, outcome)

    def report(self, number: int, outcome: str | None, cluster: str = "") -> None:
        cluster = cluster or self.ray_jobs[number].cluster
        if not cluster:
            return
        self.sequence += 1
        fields: dict[str, Any] = {"attempt": number, "cluster": cluster, "sequence": self.sequence}
        if outcome is not None:
            fields["outcome"] = {"result": outcome, "reason": f"Was{outcome}", "message": "words"}
        self.record = record_text(**fields)

    @precondition(lambda self: not self.gone)
    @rule(seconds=st.sampled_from([0, 20, 301, 700]))
    def an_attempt_trains(self, seconds: int) -> None:
        """All goes well for a while: the newest attempt starts, reports, and is seen to; then nothing is heard for some time."""
        for _ in range(3):
            self.a_pass()
            if self.gone or not self.ray_jobs:
                continue
            newest = max(self.ray_jobs)
            if newest in self.held():
                self.start(newest)
            self.say(newest, "RUNNING", "Running")
            self.report(newest, None)
        if not self.gone:
            self.a_pass()
            self.now += timedelta(seconds=seconds)

    @precondition(lambda self: not self.gone)
    @rule(harm=st.sampled_from(["the token is taken", "it is deleted as it begins", "it is suspended and resumed"]))
    def an_attempt_comes_to_harm(self, harm: str) -> None:
        """The whole of what a few rules in a row seldom bring about."""
        self.all_is_well()
        self.policy = self.policy.changed(suspend=False)
        for _ in range(6):
            decision = self.a_pass(1)  # which creates, and dies before it says so
            if self.gone or decision.creates:
                break
            self.pods_without_a_cluster_go()
            self.what_is_deleted_goes()
            self.now += timedelta(seconds=20)
        if self.gone or not self.ray_jobs:
            return
        newest = max(self.ray_jobs)
        if harm == "it is deleted as it begins":
            self.delete(newest)
        elif harm == "the token is taken":
            self.ray_jobs[newest] = replace(self.ray_jobs[newest], unsafe=UNSAFE)
        else:
            self.policy = self.policy.changed(suspend=True)
            self.the_controller_works(3)
            self.policy = self.policy.changed(suspend=False)
        if not self.gone:
            self.a_pass()

    # What must hold at any time.

    @invariant()
    def it_is_in_a_permitted_state(self) -> None:
        known = self.status.attempts or []
        assert all(each.outcome is not None for each in known[:-1])
        assert attempts.charged(self.status) <= self.most_attempts
        assert self.status.phase is None or self.status.phase in set(Phase)
        for kind in ENDS:
            if is_true(self.status, kind):
                running = get_condition(self.status, ConditionType.RUNNING)
                assert running is None or running.status == "False"

    def teardown(self) -> None:
        """Let the world be kind: KubeRay works, the trainer succeeds, nobody meddles. The job then ends, and nothing of it runs on."""
        self.policy = self.policy.changed(suspend=False)
        self.all_is_well()
        for _ in range(100):
            if self.gone:
                return
            self.what_is_deleted_goes()
            self.pods_without_a_cluster_go()
            decision = self.a_pass()
            attempt = attempts.unfinished(self.status)
            if attempt is not None and attempt.number in self.ray_jobs and not self.ray_jobs[attempt.number].deleting:
                if attempt.number in self.held():
                    self.start(attempt.number)
                self.say(attempt.number, "RUNNING", "Running")
                self.report(attempt.number, "Succeeded")
                self.say(attempt.number, "SUCCEEDED", "Complete")
            ended = any(is_true(self.status, kind) for kind in ENDS)
            alive = [each for each in self.ray_jobs.values() if not ray_job_state(each).final]
            if ended and not alive:
                return
            self.now += timedelta(seconds=max(1.0, min(decision.requeue_after or 1.0, 400.0)))
        raise AssertionError(f"the job does not end: {self.status}")


SETTINGS = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def test_whatever_happens_to_a_job_the_rules_hold_and_each_policy_has_had_something_to_decide() -> None:
    DECIDED.clear()
    run_state_machine_as_test(Lifecycle, settings=SETTINGS)  # type: ignore[no-untyped-call]
    # Which earlier jobs a job starts from is no part of this world.
    assert {policy.__name__ for policy in POLICIES} - {name for name, count in DECIDED.items() if count} == {"remembered"}
