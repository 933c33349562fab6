from typing import Any

import pytest

from controller.job.quotas import amount_of, has_room_appeared, makes_room


def quota(hard: dict[str, str], used: dict[str, str] | None = None, uid: str = "q", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": uid, "uid": uid}, "spec": {"hard": hard, **spec}, "status": {"used": used or {}}}


@pytest.mark.parametrize(
    ("old", "new", "room"),
    [
        pytest.param(quota({"pods": "1"}), None, True, id="gone"),
        pytest.param(None, quota({"pods": "1"}), False, id="came"),
        pytest.param(quota({"pods": "1"}), quota({"pods": "2"}), True, id="raised"),
        pytest.param(quota({"pods": "2"}), quota({"pods": "1"}), False, id="lowered"),
        pytest.param(quota({"pods": "1", "secrets": "1"}), quota({"secrets": "1"}), True, id="no more of one kind"),
        pytest.param(quota({"requests.cpu": "900m"}), quota({"requests.cpu": "1"}), True, id="another unit"),
        pytest.param(quota({"requests.memory": "1Gi"}), quota({"requests.memory": "900Mi"}), False, id="a smaller unit"),
        pytest.param(quota({"pods": "3"}, {"pods": "3"}), quota({"pods": "3"}, {"pods": "2"}), True, id="less in use"),
        pytest.param(quota({"pods": "3"}, {"pods": "2"}), quota({"pods": "3"}, {"pods": "3"}), False, id="more in use"),
        pytest.param(quota({"pods": "3"}), quota({"pods": "3"}, scopes=["BestEffort"]), True, id="for others only"),
        pytest.param(quota({"pods": "3"}), quota({"pods": "3"}, {"pods": "0"}), True, id="counted now"),
        pytest.param({"metadata": {"uid": "q"}}, {"metadata": {"uid": "q"}}, False, id="without a status"),
    ],
)
def test_room_appears_when_a_quota_goes_allows_more_or_has_less_in_use(
    old: dict[str, Any] | None, new: dict[str, Any] | None, room: bool
) -> None:
    assert makes_room(old, new) is room


def test_one_quota_of_several_is_enough() -> None:
    one, other = quota({"pods": "1"}, uid="one"), quota({"pods": "1"}, uid="other")
    assert has_room_appeared([one, other], [one])
    assert not has_room_appeared([one], [one, other])
    assert not has_room_appeared([], [one])


@pytest.mark.parametrize(
    ("text", "amount"),
    [("3", 3), ("500m", 0.5), ("1Ki", 1024), ("2G", 2e9), ("1e3", 1000), ("12E", 12e18), ("1.5Gi", 1.5 * 2**30)],
)
def test_a_quantity_is_read_in_every_form_that_the_server_writes(text: str, amount: float) -> None:
    assert amount_of(text) == pytest.approx(amount)
