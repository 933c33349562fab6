"""Rights are declared beside the code that needs them, and compared by what they allow."""

from controller.runtime import events
from controller.runtime.events import EventRecorder
from controller.runtime.resources import EVENTS, PODS, Resource
from controller.runtime.rights import Right, declared_beside, rights


def test_each_verb_is_a_right_of_its_own() -> None:
    assert rights(PODS, "list", "watch") == (Right(PODS, "list"), Right(PODS, "watch"))


def test_the_reason_is_no_part_of_the_right() -> None:
    assert rights(PODS, "list", why="to see them") == rights(PODS, "list")


def test_a_right_on_a_subresource_is_another_one_and_written_as_roles_do() -> None:
    jobs = Resource("example.dev", "v1", "jobs", "Job")
    [whole], [status] = rights(jobs, "patch"), rights(jobs, "patch", subresource="status")
    assert whole != status
    assert (whole.plural, status.plural) == ("jobs", "jobs/status")
    assert str(status) == "patch jobs/status.example.dev"
    assert [str(right) for right in rights(PODS, "delete")] == ["delete pods"]


def test_the_rights_of_a_function_are_those_of_its_module() -> None:
    assert declared_beside(EventRecorder) == events.RIGHTS == rights(EVENTS, "create")


def test_a_module_that_declares_none_has_none() -> None:
    assert declared_beside(test_a_module_that_declares_none_has_none) == ()
