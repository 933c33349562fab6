import json
import math
from typing import Any

from bench.controller.audit import asked, counts, created, delays, percentile


def line(verb: str, resource: str, second: float, **fields: Any) -> str:
    place = {"resource": resource, "namespace": "x", "name": fields.pop("name", "job-1")}
    if "subresource" in fields:
        place["subresource"] = fields.pop("subresource")
    event = {
        "stage": fields.pop("stage", "ResponseComplete"),
        "verb": verb,
        "user": {"username": fields.pop("user", "ours")},
        "objectRef": place,
        "responseStatus": {"code": fields.pop("code", 200)},
        "requestReceivedTimestamp": "2026-03-01T12:00:00.000000Z",
        "stageTimestamp": f"2026-03-01T12:00:{second:09.6f}Z",
    }
    assert not fields
    return json.dumps(event) + "\n"


def test_requests_are_counted_by_verb_and_resource() -> None:
    lines = [line("patch", "jobs", 1, subresource="status"), line("patch", "jobs", 2, subresource="status"), line("create", "pods", 3)]
    assert counts(asked(lines)) == {"patch jobs/status": 2, "create pods": 1}


def test_a_watch_counts_once_and_a_torn_line_not_at_all() -> None:
    lines = [line("watch", "jobs", 1, stage="ResponseStarted"), line("watch", "jobs", 9), line("get", "jobs", 3).rstrip("\n")]
    assert counts(asked(lines)) == {"watch jobs": 1}


def test_an_object_is_created_when_the_server_said_so_and_only_then() -> None:
    lines = [line("create", "jobs", 1, code=409), line("create", "jobs", 2.5, code=201), line("create", "jobs", 3, code=201)]
    times = created(asked(lines), "jobs")
    [(key, time)] = times.items()
    assert key == ("x", "job-1")
    assert time % 60 == 2.5


def test_the_delay_is_that_of_the_first_child() -> None:
    parents = {("x", "a"): 10.0, ("x", "b"): 10.0, ("y", "a"): 10.0}
    children = {("x", "a-2"): 30.0, ("x", "a-1"): 11.5, ("x", "b-1"): 12.0}
    assert delays(parents, children, lambda name: name.rpartition("-")[0]) == [1.5, 2.0]


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 0.5) == 7.0
    assert math.isnan(percentile([], 0.5))
