"""In a company's network the cluster's own addresses are not asked of the proxy."""

from __future__ import annotations

import pytest

from tests.cluster.node import own_addresses
from tests.cluster.proxies import spare_addresses

PROXY = {"HTTPS_PROXY": "http://proxy.example:3128"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({}, "localhost,127.0.0.1,10.96.0.0/16", id="nothing was excepted"),
        pytest.param({"NO_PROXY": ".corp"}, ".corp,localhost,127.0.0.1,10.96.0.0/16", id="the name in capitals"),
        pytest.param({"no_proxy": ".corp, localhost"}, ".corp,localhost,127.0.0.1,10.96.0.0/16", id="the other name, with a blank"),
    ],
)
def test_both_names_except_the_clusters_addresses_beside_what_they_had(before: dict[str, str], after: str) -> None:
    environment = {**PROXY, **before}
    spare_addresses("10.96.0.0/16", environment=environment)
    assert (environment["NO_PROXY"], environment["no_proxy"]) == (after, after)
    spare_addresses("10.96.0.0/16", environment=environment)
    assert environment["NO_PROXY"] == after, "a second cluster adds nothing"


@pytest.mark.parametrize("environment", [{}, {"NO_PROXY": ".corp"}, {"HTTPS_PROXY": ""}, {**PROXY, "NO_PROXY": "*", "no_proxy": "*"}])
def test_without_a_proxy_or_with_everything_excepted_nothing_changes(environment: dict[str, str]) -> None:
    before = dict(environment)
    spare_addresses("10.96.0.0/16", environment=environment)
    assert environment == before


def test_the_address_of_the_node_is_among_the_clusters_own() -> None:
    assert {"10.244.0.1", "10.244.0.0/24", "10.96.0.0/16"} <= set(own_addresses())
