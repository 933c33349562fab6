import json
import logging

import pytest

from controller.runtime import errors
from controller.runtime.client import METADATA_ONLY, METADATA_ONLY_LIST, Client
from controller.runtime.transport import Response
from tests.controller.runtime.builders import WIDGETS, widget
from tests.fakes import FakeApi


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def client(api: FakeApi) -> Client:
    return Client(api, field_manager="tester")


async def test_what_was_created_can_be_read(client: Client) -> None:
    await client.create(WIDGETS, widget("a", color="red"))

    assert (await client.get(WIDGETS, "a", "team-a"))["color"] == "red"


async def test_a_dry_run_shows_whether_an_object_could_be_created_and_leaves_nothing(api: FakeApi, client: Client) -> None:
    await client.create(WIDGETS, widget("a"), dry_run=True)
    assert api.objects(WIDGETS) == []
    assert api.requests[-1].query["dryRun"] == "All"


async def test_creating_twice_says_that_it_exists(client: Client) -> None:
    await client.create(WIDGETS, widget("a"))

    with pytest.raises(errors.AlreadyExists, match="a already exists"):
        await client.create(WIDGETS, widget("a"))


async def test_a_missing_object_and_a_missing_kind_are_different_errors(api: FakeApi, client: Client) -> None:
    with pytest.raises(errors.NotFound) as missing:
        await client.get(WIDGETS, "a", "team-a")
    api.absent.add(str(WIDGETS))
    with pytest.raises(errors.ResourceAbsent):
        await client.get(WIDGETS, "a", "team-a")
    assert not isinstance(missing.value, errors.ResourceAbsent)


async def test_pages_are_put_together(api: FakeApi, client: Client) -> None:
    for number in range(7):
        api.put(WIDGETS, widget(f"w{number}"))

    page = await client.list_all(WIDGETS, limit=3)

    assert [item["metadata"]["name"] for item in page.items] == [f"w{number}" for number in range(7)]
    assert page.resource_version == str(api.version)
    assert [request.query["limit"] for request in api.requests] == ["3", "3", "3"]


async def test_items_of_a_list_bear_the_kind_that_built_in_lists_leave_out(api: FakeApi, client: Client) -> None:
    item = widget("a")
    del item["kind"], item["apiVersion"]
    api.put(WIDGETS, item)

    (listed,) = (await client.list(WIDGETS)).items

    assert (listed["apiVersion"], listed["kind"]) == ("test.dev/v1", "Widget")


async def test_metadata_only_reads_ask_the_server_to_keep_the_contents(api: FakeApi, client: Client) -> None:
    api.put(WIDGETS, widget("a"))

    await client.get(WIDGETS, "a", "team-a", metadata_only=True)
    await client.list(WIDGETS, metadata_only=True)

    assert [request.accept for request in api.requests] == [METADATA_ONLY, METADATA_ONLY_LIST]


async def test_a_write_over_what_changed_meanwhile_is_a_conflict(api: FakeApi, client: Client) -> None:
    old = api.put(WIDGETS, widget("a"))
    old = json.loads(json.dumps(old))
    api.put(WIDGETS, widget("a", color="red"))

    with pytest.raises(errors.Conflict):
        await client.replace(WIDGETS, old)
    with pytest.raises(errors.Conflict):
        await client.patch_status(WIDGETS, "a", "team-a", {"step": 1}, resource_version=old["metadata"]["resourceVersion"])


async def test_a_status_patch_goes_to_the_status_and_nowhere_else(api: FakeApi, client: Client) -> None:
    api.put(WIDGETS, widget("a", spec={"size": 1}))

    await client.patch_status(WIDGETS, "a", "team-a", {"step": 1, "gone": None})

    request = api.requests[-1]
    assert request.path.endswith("/widgets/a/status")
    assert request.content_type == "application/merge-patch+json"
    assert request.body == {"status": {"step": 1, "gone": None}}


async def test_deleting_spares_an_object_that_took_the_name_of_the_one_that_was_meant(api: FakeApi, client: Client) -> None:
    api.put(WIDGETS, widget("a"))

    with pytest.raises(errors.Conflict):
        await client.delete(WIDGETS, "a", "team-a", uid="of its predecessor")

    assert len(api.objects(WIDGETS)) == 1


async def test_deleting_leaves_children_to_the_garbage_collector(api: FakeApi, client: Client) -> None:
    uid = api.put(WIDGETS, widget("a"))["metadata"]["uid"]

    await client.delete(WIDGETS, "a", "team-a", uid=uid)

    assert api.requests[-1].body["propagationPolicy"] == "Background"
    assert api.objects(WIDGETS) == []


async def test_an_answer_that_is_no_json_is_the_servers_fault(api: FakeApi, client: Client) -> None:
    api.fail(Response(200, b"<html>proxy</html>"))

    with pytest.raises(errors.ServerError, match="widgets/a: the answer is not a JSON object"):
        await client.get(WIDGETS, "a", "team-a")


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"items": []}',
        '{"metadata": {"resourceVersion": ""}, "items": []}',
        '{"metadata": {"resourceVersion": "1"}, "items": {"a": 1}}',
        '{"metadata": {"resourceVersion": "1"}, "items": [{"metadata": {}}]}',
        '{"metadata": {"resourceVersion": "1"}, "items": [null]}',
    ],
)
async def test_an_answer_that_is_no_list_is_not_taken_for_an_empty_one(api: FakeApi, client: Client, body: str) -> None:
    api.fail(Response(200, body.encode()))

    with pytest.raises(errors.ServerError, match="not a list of objects"):
        await client.list_all(WIDGETS)


async def test_an_answer_that_is_no_object_is_the_servers_fault(api: FakeApi, client: Client) -> None:
    api.fail(Response(200, b'{"kind": "Hello"}'), times=4)

    for asking in (
        client.get(WIDGETS, "a", "team-a"),
        client.create(WIDGETS, widget("a")),
        client.replace(WIDGETS, widget("a")),
        client.patch(WIDGETS, "a", "team-a", {}),
    ):
        with pytest.raises(errors.ServerError, match="not an object"):
            await asking


async def test_what_the_server_warns_of_is_logged(api: FakeApi, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    api.fail(
        Response(
            201,
            json.dumps(widget("a") | {"metadata": {"name": "a", "resourceVersion": "1"}}).encode(),
            {"Warning": '299 - "unknown field spec.sise"'},
        )
    )

    with caplog.at_level(logging.WARNING):
        await client.create(WIDGETS, widget("a"))

    assert 'unknown field "spec.sise"' in caplog.text or "unknown field spec.sise" in str(caplog.records[0].__dict__)


async def test_a_line_of_a_watch_that_was_cut_short_is_an_error_and_no_event(api: FakeApi, client: Client) -> None:
    api.fail(Response(200, b'{"type": "ADDED", "obj'), watch=True)

    with pytest.raises(errors.ServerError, match="not a watch event"):
        [event async for event in client.watch(WIDGETS, resource_version="1", timeout_seconds=1, inactivity_seconds=1)]


async def test_a_watch_that_is_refused_raises_what_the_server_said(api: FakeApi, client: Client) -> None:
    api.fail(Response(403, b'{"kind": "Status", "message": "widgets is forbidden"}'), watch=True)

    with pytest.raises(errors.Forbidden, match="widgets is forbidden"):
        [event async for event in client.watch(WIDGETS, resource_version="1", timeout_seconds=1, inactivity_seconds=1)]


async def test_closing_closes_the_transport(api: FakeApi, client: Client) -> None:
    await client.close()

    assert api.closed


@pytest.mark.parametrize(
    ("response", "takes"),
    [
        (Response(200, b'{"resources": [{"name": "widgets", "verbs": ["get", "create"]}]}'), True),
        (Response(200, b'{"resources": [{"name": "widgets", "verbs": ["get", "delete"]}]}'), False),
        (Response(200, b'{"resources": [{"name": "widgets"}, {"name": "widgets/status", "verbs": ["create"]}, 7]}'), False),
        (Response(200, b'{"resources": []}'), False),
        (Response(404, b"404 page not found\n"), False),
        (Response(403, b'{"kind": "Status", "message": "cannot get path"}'), True),
    ],
    ids=["served", "its definition is being deleted", "no verbs", "another kind of the group", "not served", "discovery is forbidden"],
)
async def test_whether_new_objects_of_a_kind_are_taken_is_told_by_discovery(response: Response, takes: bool) -> None:
    api = FakeApi()
    api.fail(response)
    assert await Client(api, field_manager="t").takes_new(WIDGETS) is takes
    assert api.requests[-1].path == "/apis/test.dev/v1"


async def test_an_answer_that_is_no_list_of_kinds_says_nothing_about_them() -> None:
    api = FakeApi()
    api.fail(Response(200, b"{}"))
    with pytest.raises(errors.ServerError):
        await Client(api, field_manager="t").takes_new(WIDGETS)
