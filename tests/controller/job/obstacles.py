"""What keeps a job of the state machine from running, or concerns what it reports with. Not a test.

KubeRay may not be served, the spec may be unreadable or refused, what it names may be missing, a RayJob may lose what its safety
depends on, and somebody may meddle with the small objects. Test: tests/controller/job/test_state_machine.py.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from controller.job.facts import Job, Missing, RayJobFacts, Supports
from controller.job.failures import ray_job_state
from controller.job.names import progress_name
from controller.job.plan import POLICIES, Policy
from controller.job.situation import Plan, ReleaseProgress, RestoreSupports, Situation
from tests.controller.job.builders import UID

UNSAFE = ("spec.rayClusterSpec.authOptions",)
SUPPORTS = [
    Supports(lost=(("Role", "finetune-trainer"),)),
    Supports(foreign=(("ConfigMap", "bot-1-config"),)),
    Supports(altered="was made immutable", writable=False),
    Supports(altered="has a finalizer", watched=False),
]
HELD = ((progress_name("bot", UID, 1), "uid-of-progress"),)
DECIDED = Counter[str]()
"""How often each policy decided something: what it returned was not what it got."""


def counted(policy: Policy) -> Policy:
    @wraps(policy)
    def ask(situation: Situation) -> Situation | Plan:
        answer = policy(situation)
        DECIDED[policy.__name__] += answer is not situation and answer != situation
        return answer

    return ask


COUNTED = tuple(counted(policy) for policy in POLICIES)


class Obstacles(RuleBasedStateMachine):
    """The part of a job's world that it waits for. Whoever uses it has RayJobs, by attempt, and says whether the job is gone."""

    ray_jobs: dict[int, RayJobFacts]
    gone: bool
    a_pass: Callable[..., Plan]

    def __init__(self) -> None:
        super().__init__()
        self.kuberay, self.leaving, self.readable, self.deleting = True, False, True, False
        self.refused, self.missing, self.held_up = tuple[str, ...](), tuple[Missing, ...](), tuple[tuple[str, str], ...]()
        self.supports = Supports()

    def all_is_well(self) -> None:
        """Take all obstacles away."""
        self.kuberay, self.leaving, self.readable = True, False, True
        self.refused, self.missing = (), ()

    def seen(self, job: Job) -> Job:
        """Return the job as it is observed now."""
        job = replace(job, deleting=self.deleting)
        return job if self.readable else replace(job, spec=None, spec_problem="spec.task: of another version")

    def obstacles(self, current: RayJobFacts | None, *, suspended: bool) -> dict[str, Any]:
        """Return what is observed; `current` is the RayJob of the attempt that has not ended."""
        asks = self.readable and current is None and not suspended
        runs = current is not None and not ray_job_state(current).final
        return {
            "kuberay_installed": self.kuberay,
            "kuberay_leaving": not self.kuberay and self.leaving,
            "refused": self.refused if self.readable else (),
            "missing": self.missing if asks else (),
            "supports": self.supports if runs else Supports(),
            "held": self.held_up,
        }

    def nothing_prevents_it(self) -> bool:
        """Return whether an attempt may be created."""
        unsafe = [each for each in self.ray_jobs.values() if each.unsafe and not ray_job_state(each).final]
        return self.kuberay and self.readable and not (self.deleting or self.refused or self.missing or unsafe)

    def carry_out(self, action: RestoreSupports | ReleaseProgress) -> None:
        """Do what concerns the small objects."""
        if isinstance(action, RestoreSupports):
            assert self.readable, "nothing can be built"
            assert not ray_job_state(self.ray_jobs[action.number]).final, "the attempt has ended"
            assert action.lost == self.supports.lost
            self.supports = Supports()
        else:
            assert (action.name, action.uid) in self.held_up
            self.held_up = ()

    def for_a_while(self, leaves: int) -> None:
        """Let the controller see what is in its way; mostly it goes again."""
        if not self.gone:
            self.a_pass()
        if leaves:
            self.all_is_well()

    @rule(leaving=st.booleans(), removed=st.booleans(), leaves=st.integers(0, 3))
    def kuberay_is_not_served(self, leaving: bool, removed: bool, leaves: int) -> None:
        """`removed`: all RayJobs go with their definition."""
        self.kuberay, self.leaving = False, leaving
        if removed:
            self.ray_jobs.clear()
        self.for_a_while(leaves)

    @rule(leaves=st.integers(0, 3))
    def another_version_of_the_controller_takes_over(self, leaves: int) -> None:
        self.readable = False
        self.for_a_while(leaves)

    @rule(leaves=st.integers(0, 3))
    def the_administrator_allows_less(self, leaves: int) -> None:
        self.refused = ("spec.resources.gpus: 9 are more than the 8 that are allowed",)
        self.for_a_while(leaves)

    @rule(watched=st.booleans(), leaves=st.integers(0, 3))
    def what_the_spec_names_is_missing(self, watched: bool, leaves: int) -> None:
        self.missing = (Missing("output: there is no claim models", watched=watched),)
        self.for_a_while(leaves)

    @rule()
    def all_is_put_right(self) -> None:
        self.all_is_well()

    @precondition(lambda self: self.ray_jobs)
    @rule(data=st.data())
    def somebody_takes_the_token_from_a_ray_job(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.ray_jobs)))
        self.ray_jobs[number] = replace(self.ray_jobs[number], unsafe=UNSAFE)

    @rule(supports=st.sampled_from(SUPPORTS), held=st.booleans())
    def somebody_meddles_with_the_small_objects(self, supports: Supports, held: bool) -> None:
        self.supports, self.held_up = supports, HELD if held else ()

    @precondition(lambda self: not self.gone)
    @rule(likely=st.integers(0, 4))
    def the_user_deletes_the_job(self, likely: int) -> None:
        if likely:
            return
        self.deleting = True
        decision = self.a_pass()
        assert all(isinstance(action, ReleaseProgress) for action in decision.actions), "the garbage collector does the rest"
        assert self.held_up == ()
        self.gone = True
