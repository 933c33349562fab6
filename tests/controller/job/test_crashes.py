"""The controller dies before or after any one of its writes, and another process goes on: the job's life ends as if it had not.

Whole lives of three kinds (tests/controller/job/lives.py), each with an account for every attempt and with the account that the chart
lets attempts share.
"""

import re

import pytest

from controller.job.objects.form import SHARED_ACCOUNT
from controller.runtime.transport import Request, Response
from tests.controller.job.lives import SETTINGS, Dying, Life, MeddledLife, QueuedLife

pytestmark = pytest.mark.fault

NAMES = {"a plain life": Life, "a meddled life": MeddledLife, "a queued life": QueuedLife}
LIVES = [pytest.param(kind, id=name) for name, kind in NAMES.items()]
ENDS = {
    Life: ([(1, "Failed", "TrainerKilled"), (2, "Suspended", "Suspended"), (3, "Succeeded", "Succeeded")], "Succeeded"),
    MeddledLife: ([(1, "Failed", "Stalled"), (2, "Interrupted", "KubeRayUnsafe"), (3, "Failed", "DeadlineExceeded")], "Failed"),
    QueuedLife: ([(1, "Succeeded", "Succeeded")], "Succeeded"),
}
RESTORED = ("Reporting", "True", "DeletedAndRestored")
"""What a process that dies between restoring an object and saying so leaves unsaid: the next one finds nothing that is lost."""
everywhere = pytest.mark.parametrize("form", SETTINGS)


@everywhere
@pytest.mark.parametrize("kind", LIVES)
async def test_the_whole_life_is_as_it_should_be(kind: type[Life], form: str) -> None:
    life = kind(form)
    await life.live()
    state = life.end_state()
    assert ([(each["number"], each["outcome"], each["reason"]) for each in state["attempts"]], state["phase"]) == ENDS[kind]
    assert (life.alive_at_once, life.made_twice(), state["unsound"]) == (1, set(), [])
    assert len(life.transport.writes) >= kind.WRITES
    assert (f"serviceaccounts/{SHARED_ACCOUNT}" in life.transport.created) is (form == "shared account")


@everywhere
async def test_a_meddled_life_reaches_the_writes_that_a_plain_one_never_does(form: str) -> None:
    life = MeddledLife(form)
    await life.live()
    writes = " ".join(life.transport.writes)
    for written in (
        r"DELETE \S+/rayjobs/bot-1 ",  # what stalls is taken away
        r"PATCH \S+/configmaps/bot-1-progress-\w+ ",  # a report that a finalizer holds
        r"POST \S+/rayjobs DELETE \S+/rayjobs/bot-3 ",  # one that lost its token as it was made
        r"DELETE \S+/rayjobs/bot-2 ",  # one that lost it later
        r"PATCH \S+/configmaps/bot-2-progress-\w+ DELETE \S+/finetunejobs/bot",  # a report that would outlive the job
    ):
        assert re.search(written, writes), written
    restored = life.MADE_AGAIN & {what for what, count in life.transport.created.items() if count > 1}
    assert restored == {"rayjobs/bot-3", "roles/bot-1" if form == "own accounts" else f"roles/{SHARED_ACCOUNT}"}


@pytest.mark.parametrize("answered", [False, True], ids=["before it", "before its answer"])
@everywhere
@pytest.mark.parametrize("kind", LIVES)
async def test_a_crash_at_any_write_changes_nothing_about_the_end(kind: type[Life], form: str, answered: bool) -> None:
    whole = kind(form)
    await whole.live()
    expected, total = whole.end_state(), len(whole.transport.writes)
    assert total >= kind.WRITES
    unsaid = 0
    for at in range(1, total + 1):
        life = kind(form, at, answered=answered)
        await life.live()
        where, state = f"killed at {life.transport.writes[at - 1]}, number {at} of {total}", life.end_state()
        if RESTORED in expected["conditions"] and RESTORED not in state["conditions"]:
            unsaid += 1
            state["conditions"].insert(expected["conditions"].index(RESTORED), RESTORED)
        assert state == expected, where
        assert (life.alive_at_once, life.made_twice()) == (1, set()), where
    assert unsaid <= 1


@everywhere
@pytest.mark.parametrize("every", [8, 9, 11])
async def test_a_controller_that_dies_over_and_over_gets_on(every: int, form: str) -> None:
    """One pass writes up to seven times: a controller that never gets through one would never get on."""

    class OverAndOver(Dying):
        async def send(self, request: Request) -> Response:
            if request.method != "GET":
                self._at = len(self.writes) + 1 if (len(self.writes) + 1) % every == 0 else None
            return await super().send(request)

    whole, life = Life(form), Life(form)
    life.travel_by(OverAndOver(life.world.api, None, answered=every % 2 == 1))
    await whole.live()
    await life.live()
    assert (life.end_state(), life.alive_at_once, life.made_twice()) == (whole.end_state(), 1, set())
