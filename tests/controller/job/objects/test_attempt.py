"""Everything that an attempt is made of, in the order in which it is created."""

import pytest

from controller.job.objects.attempt import SUPPORTS, objects_of, supporting
from tests.controller.job.builders import Settings, job, unreadable

MODES = {"models": ["ReadWriteMany"]}


def test_an_attempt_is_made_of_its_supports_and_then_its_ray_job() -> None:
    made = objects_of(job(), 2, Settings(), MODES)
    assert [(each.resource.kind, each.name) for each in made] == [
        ("ConfigMap", "bot-2-config"),
        ("ConfigMap", "bot-2-progress-0123abcd"),
        ("ServiceAccount", "bot-2"),
        ("Role", "bot-2"),
        ("RoleBinding", "bot-2"),
        ("RayJob", "bot-2"),
    ]
    assert all((each.item["kind"], each.item["metadata"]["namespace"]) == (each.resource.kind, "team") for each in made)


def test_what_is_restored_is_what_was_created() -> None:
    assert supporting(job(), 2) == objects_of(job(), 2, Settings(), MODES)[:-1]


def test_the_names_of_supports_are_known_without_the_spec() -> None:
    names = [(support.resource, support.name(unreadable(job()), 2)) for support in SUPPORTS]
    assert names == [(each.resource, each.name) for each in supporting(job(), 2)]
    with pytest.raises(ValueError, match="of another version"):
        supporting(unreadable(job()), 2)


@pytest.mark.parametrize(("modes", "together"), [(MODES, False), ({"models": ["ReadWriteOnce"]}, True), ({}, True)])
def test_the_access_modes_decide_whether_pods_share_a_node(modes: dict[str, list[str]], together: bool) -> None:
    ray_job = objects_of(job(), 1, Settings(), modes)[-1].item
    assert ("affinity" in ray_job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]) is together
