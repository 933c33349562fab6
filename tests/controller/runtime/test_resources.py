import pytest

from controller.runtime.resources import LEASES, PODS, Resource, object_key

NODES = Resource("", "v1", "nodes", "Node", namespaced=False)


@pytest.mark.parametrize(
    ("resource", "arguments", "path"),
    [
        pytest.param(PODS, (), "/api/v1/pods", id="all namespaces"),
        pytest.param(PODS, ("team-a",), "/api/v1/namespaces/team-a/pods", id="one namespace"),
        pytest.param(PODS, ("team-a", "p"), "/api/v1/namespaces/team-a/pods/p", id="one object"),
        pytest.param(PODS, ("team-a", "p", "status"), "/api/v1/namespaces/team-a/pods/p/status", id="status"),
        pytest.param(LEASES, ("a", "l"), "/apis/coordination.k8s.io/v1/namespaces/a/leases/l", id="of a group"),
        pytest.param(NODES, (None, "n"), "/api/v1/nodes/n", id="without namespace"),
    ],
)
def test_a_path_is_where_the_api_serves_the_object(resource: Resource, arguments: tuple[str, ...], path: str) -> None:
    assert resource.path(*arguments) == path


def test_a_namespaced_object_without_a_namespace_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="pods/p: namespaced, but no namespace was given"):
        PODS.path(None, "p")


def test_a_namespace_for_what_has_none_is_refused() -> None:
    with pytest.raises(ValueError, match="nodes: not namespaced"):
        NODES.path("team-a")


@pytest.mark.parametrize(("metadata", "key"), [({"name": "a", "namespace": "team"}, "team/a"), ({"name": "a"}, "a")])
def test_a_key_is_namespace_and_name(metadata: dict[str, str], key: str) -> None:
    assert object_key({"metadata": metadata}) == key
