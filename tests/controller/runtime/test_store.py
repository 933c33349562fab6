import asyncio

from hypothesis import given
from hypothesis import strategies as st

from controller.runtime.resources import KubeObject, object_key
from controller.runtime.store import Store, StoreState
from tests.controller.runtime.builders import widget


def colors(item: KubeObject) -> list[str]:
    return item.get("colors", [])


def at(version: int, item: KubeObject, uid: str = "u") -> KubeObject:
    return {**item, "metadata": {**item["metadata"], "resourceVersion": str(version), "uid": uid}}


def store_with(*items: KubeObject) -> Store:
    store = Store({"color": colors})
    store.replace(items)
    return store


def test_an_object_is_found_under_every_value_of_an_index() -> None:
    store = store_with(widget("a", colors=["red", "blue"]), widget("b", colors=["blue"]))

    assert [item["metadata"]["name"] for item in store.by_index("color", "blue")] == ["a", "b"]
    assert [item["metadata"]["name"] for item in store.by_index("color", "red")] == ["a"]


def test_an_object_that_changed_is_found_under_its_new_value_only() -> None:
    store = store_with(widget("a", colors=["red"]))
    store.put(widget("a", colors=["blue"]))

    assert store.by_index("color", "red") == []
    assert len(store.by_index("color", "blue")) == 1


def test_replacing_everything_reports_what_was_deleted_unseen() -> None:
    store = store_with(at(1, widget("stays")), at(2, widget("goes", colors=["red"])))

    changes = store.replace([at(1, widget("stays"))])

    assert [(change.key, change.new) for change in changes] == [("team-a/goes", None)]
    assert store.by_index("color", "red") == []


def test_replacing_reports_only_what_differs() -> None:
    store = store_with(at(1, widget("same")), at(1, widget("changed")))

    changes = store.replace([at(1, widget("same")), at(5, widget("changed")), at(6, widget("new"))])

    assert sorted((change.key, change.old is not None) for change in changes) == [("team-a/changed", True), ("team-a/new", False)]


def test_an_object_created_again_under_the_same_name_is_a_change() -> None:
    store = store_with(at(1, widget("a"), uid="first"))

    (change,) = store.replace([at(1, widget("a"), uid="second")])

    assert change.old is not None
    assert change.new is not None
    assert (change.old["metadata"]["uid"], change.new["metadata"]["uid"]) == ("first", "second")


def test_removing_what_is_not_there_is_no_change() -> None:
    assert Store().remove("team-a/none") is None


async def test_waiting_ends_when_the_contents_are_known_or_known_to_be_absent() -> None:
    for state in (StoreState.SYNCED, StoreState.ABSENT):
        store = Store()
        waiting = asyncio.create_task(store.wait_until_known())
        await asyncio.sleep(0)
        assert not waiting.done()

        store.state = state
        await asyncio.wait_for(waiting, 1)


OBJECTS = st.builds(lambda name, values: widget(name, colors=values), st.sampled_from("abcd"), st.lists(st.sampled_from("rgb")))


@given(steps=st.lists(st.one_of(st.tuples(st.just("put"), OBJECTS), st.tuples(st.just("remove"), OBJECTS)), max_size=30))
def test_an_index_always_agrees_with_a_search_through_all_objects(steps: list[tuple[str, KubeObject]]) -> None:
    store = Store({"color": colors})
    for step, item in steps:
        if step == "put":
            store.put(item)
        else:
            store.remove(object_key(item))

        for color in "rgb":
            assert store.by_index("color", color) == [each for each in store.all() if color in colors(each)]


def test_a_part_replaces_what_its_namespace_has_and_nothing_else() -> None:
    store = store_with()
    first, second = store.part("team-a"), store.part("team-a-2")
    first.replace([widget("a", colors=["red"]), widget("b")])
    second.replace([widget("a", namespace="team-a-2", colors=["red"])])

    changes = first.replace([widget("b")])

    assert [(change.key, change.new) for change in changes] == [("team-a/a", None)]
    assert store.keys() == ["team-a-2/a", "team-a/b"]
    assert [item["metadata"]["namespace"] for item in store.by_index("color", "red")] == ["team-a-2"]


def test_a_store_is_complete_once_its_parts_are_those_that_may_be_listed() -> None:
    store = Store()
    first, second = store.part("team-a"), store.part("team-b")
    first.state = StoreState.SYNCED
    assert (store.state, store.state_in("team-a"), store.state_in("team-b")) == ("syncing", "synced", "syncing")
    second.refuse()
    assert (store.state, store.state_in("team-b")) == ("synced", "syncing")
    assert (store.refused_in("team-a"), store.refused_in("team-b")) == (False, True)
    second.state = StoreState.ABSENT
    assert (store.state, store.state_in("team-a"), store.state_in("team-b")) == ("absent", "synced", "absent")
    second.refuse()
    assert store.state_in("team-b") == "absent", "what was listed once stays"


def test_a_store_that_may_not_be_listed_says_so_until_it_may() -> None:
    store = Store()
    assert not store.refused_in("team-a")
    store.refuse()
    assert (store.state, store.refused_in("team-a")) == ("syncing", True)
    store.state = StoreState.SYNCED
    store.refuse()
    assert not store.refused_in("team-a"), "what was listed once stays"


def test_a_store_is_not_complete_while_no_part_may_be_listed() -> None:
    store = Store()
    store.part("team-a").refuse()
    assert store.state == "syncing"
