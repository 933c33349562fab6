from typing import Any

import pytest

from controller.job.quotas import Refusal, amount_of, makes_room


def quota(
    hard: dict[str, str], used: dict[str, str] | None = None, enforced: dict[str, str] | None = None, name: str = "q", **spec: Any
) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-of-{name}", "resourceVersion": str((hard, used, enforced, spec))}
    status = {"used": used or {}} | ({"hard": enforced} if enforced else {})
    return {"metadata": metadata, "spec": {"hard": hard, **spec}, "status": status}


@pytest.mark.parametrize(
    ("old", "new", "room"),
    [
        pytest.param(quota({"pods": "1"}), None, True, id="gone"),
        pytest.param(quota({"pods": "1"}), quota({"pods": "2"}), True, id="raised"),
        pytest.param(quota({"pods": "2"}), quota({"pods": "1"}), False, id="lowered"),
        pytest.param(quota({"pods": "1", "secrets": "1"}), quota({"secrets": "1"}), True, id="no more of one kind"),
        pytest.param(quota({"requests.cpu": "900m"}), quota({"requests.cpu": "1"}), True, id="another unit"),
        pytest.param(quota({"requests.memory": "1Gi"}), quota({"requests.memory": "900Mi"}), False, id="a smaller unit"),
        pytest.param(quota({"pods": "3"}, {"pods": "3"}), quota({"pods": "3"}, {"pods": "2"}), True, id="less in use"),
        pytest.param(quota({"pods": "3"}, {"pods": "2"}), quota({"pods": "3"}, {"pods": "3"}), False, id="more in use"),
        pytest.param(quota({"pods": "3"}), quota({"pods": "3"}, scopeSelector={"matchExpressions": []}), True, id="for others only"),
        pytest.param(quota({"pods": "3"}), quota({"pods": "3"}, {"pods": "0"}), True, id="counted now"),
        pytest.param(quota({"pods": "3"}, {"pods": "3"}), quota({"pods": "4"}, {"pods": "3"}, {"pods": "3"}), False, id="not enforced yet"),
        pytest.param({"metadata": {"uid": "q"}}, {"metadata": {"uid": "q"}}, False, id="without a status"),
    ],
)
def test_room_appears_when_a_quota_goes_allows_more_or_has_less_in_use(old: dict[str, Any], new: dict[str, Any] | None, room: bool) -> None:
    assert makes_room(old, new) is room


EXCEEDED = (
    'rayjobs.ray.io "bot-1" is forbidden: exceeded quota: q, requested: count/rayjobs.ray.io=1,requests.memory=2Gi, '
    "used: count/rayjobs.ray.io=3,requests.memory=5Gi, limited: count/rayjobs.ray.io=3,requests.memory=6Gi (since 2026-03-01 12:00:00 UTC)"
)


@pytest.mark.parametrize(
    ("words", "name", "requested"),
    [
        pytest.param(EXCEEDED, "q", {"count/rayjobs.ray.io": 1, "requests.memory": 2 * 2**30}, id="exceeded"),
        pytest.param("exceeded quota: team.a-1, requested: pods=1, used: pods=1, limited: pods=1", "team.a-1", {"pods": 1}, id="one"),
        pytest.param("exceeded quota: q, used: 3", "q", {}, id="without what was requested"),
        pytest.param("exceeded quota: q, requested: pods=many, used: pods=1, limited: pods=1", "q", {}, id="no number"),
        pytest.param("failed quota: q: must specify limits.cpu for: main", "q", {}, id="failed"),
        pytest.param("status unknown for quota: q, resources: pods", "q", {}, id="unknown"),
        pytest.param("insufficient quota to consume: pods", "", {}, id="none that allows it"),
        pytest.param("Kontingent erschöpft", "", {}, id="other words"),
    ],
)
def test_a_refusal_is_read_from_the_words_of_the_api_server(words: str, name: str, requested: dict[str, float]) -> None:
    assert Refusal.read(words) == Refusal(name, requested)


POD = Refusal("q", {"pods": 1.0})


@pytest.mark.parametrize(
    ("before", "after", "may_pass"),
    [
        pytest.param([quota({"pods": "2"}, {"pods": "2"})], [quota({"pods": "2"}, {"pods": "1"})], True, id="less in use"),
        pytest.param([quota({"pods": "2"}, {"pods": "2"})], [quota({"pods": "3"}, {"pods": "2"})], True, id="raised"),
        pytest.param([quota({"pods": "2"}, {"pods": "2"})], [quota({"secrets": "3"}, {"secrets": "2"})], True, id="counts no pods now"),
        pytest.param([quota({"pods": "2"}, {"pods": "2"})], [], True, id="gone"),
        pytest.param([quota({"pods": "2"}, {"pods": "4"})], [quota({"pods": "2"}, {"pods": "3"})], False, id="still too much in use"),
        pytest.param([quota({"pods": "2"}, {"pods": "1"})], [quota({"pods": "2"}, {"pods": "1"})], False, id="has not changed"),
        pytest.param([], [quota({"pods": "2"}, {"pods": "1"})], True, id="had room before it was looked at"),
        pytest.param([], [], False, id="never seen"),
        pytest.param(
            [quota({"pods": "2"}, {"pods": "2", "secrets": "2"})], [quota({"pods": "2"}, {"pods": "2", "secrets": "0"})], False, id="other"
        ),
        pytest.param([quota({"pods": "2"})], [quota({"pods": "2"}, scopeSelector={"matchExpressions": []})], True, id="for others only"),
        pytest.param([quota({"pods": "2"}, name="r")], [], False, id="another has gone"),
    ],
)
def test_what_was_refused_may_pass_when_the_quota_that_refused_it_has_room_for_it(
    before: list[dict[str, Any]], after: list[dict[str, Any]], may_pass: bool
) -> None:
    assert POD.may_pass(before, after) is may_pass


def test_where_no_quota_is_named_room_in_any_and_a_new_one_may_let_it_in() -> None:
    full, less = quota({"pods": "2"}, {"pods": "2"}), quota({"pods": "2"}, {"pods": "1"})
    assert Refusal().may_pass([full], [less])
    assert Refusal().may_pass([full], [])
    assert Refusal().may_pass([full], [full, quota({"pods": "2"}, name="new")])
    assert not Refusal().may_pass([less], [full])


@pytest.mark.parametrize(
    ("text", "amount"),
    [("3", 3), ("500m", 0.5), ("1Ki", 1024), ("2G", 2e9), ("1e3", 1000), ("12E", 12e18), ("1.5Gi", 1.5 * 2**30)],
)
def test_a_quantity_is_read_in_every_form_that_the_server_writes(text: str, amount: float) -> None:
    assert amount_of(text) == pytest.approx(amount)
