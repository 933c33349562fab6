import logging

import pytest

from controller.runtime.client import Client
from controller.runtime.errors import Unreachable
from controller.runtime.events import NOTE_MAX_BYTES, EventRecorder
from controller.runtime.resources import EVENTS
from controller.runtime.transport import Response
from tests.controller.runtime.builders import widget
from tests.fakes import FakeApi
from tests.virtual_time import now, run_in_virtual_time


def recorder(api: FakeApi) -> EventRecorder:
    return EventRecorder(Client(api, field_manager="test"), "finetune-operator", "pod-1")


async def test_an_event_says_what_happened_to_which_object_and_who_says_so() -> None:
    api = FakeApi()
    about = widget("job")
    about["metadata"]["uid"] = "u-1"

    await recorder(api).record(about, "Warning", "AttemptFailed", "worker ran out of memory")

    (event,) = api.objects(EVENTS)
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "AttemptFailed", "worker ran out of memory")
    assert event["regarding"] == {"apiVersion": "test.dev/v1", "kind": "Widget", "name": "job", "namespace": "team-a", "uid": "u-1"}
    assert (event["reportingController"], event["reportingInstance"]) == ("finetune-operator", "pod-1")
    assert event["metadata"]["namespace"] == "team-a"


@pytest.mark.parametrize("message", ["x" * 5000, "ü" * 5000])
async def test_a_long_message_is_cut_to_what_the_api_takes(message: str) -> None:
    api = FakeApi()

    await recorder(api).record(widget("job"), "Normal", "Long", message)

    note = api.objects(EVENTS)[0]["note"]
    assert len(note.encode()) <= NOTE_MAX_BYTES
    assert note.endswith("…")


@pytest.mark.parametrize("answer", [Response(403, b"{}"), Unreachable("down")], ids=["forbidden", "down"])
async def test_an_event_that_cannot_be_written_is_only_logged(answer: Response | Exception, caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi()
    api.fail(answer)

    with caplog.at_level(logging.WARNING):
        await recorder(api).record(widget("job"), "Normal", "Started", "…")

    assert "event not written" in caplog.text


def test_an_api_that_does_not_answer_holds_nobody_up() -> None:
    async def main() -> float:
        api = FakeApi()
        api.black_hole = True
        await recorder(api).record(widget("job"), "Normal", "Started", "…")
        return now()

    assert run_in_virtual_time(main()) <= 5
