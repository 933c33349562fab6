"""Keeps a proxy of the environment away from the cluster's own addresses.

In a company's network HTTPS_PROXY is set, and kubectl, helm and the cluster's programs inherit it: the kubelet would
ask the proxy for 10.244.0.1. Test: tests/cluster/test_proxies.py
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
EXCEPTIONS = ("NO_PROXY", "no_proxy")  # which of the two is read depends on the program
THIS_MACHINE = ("localhost", "127.0.0.1")


def proxied(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Whether programs of this environment ask a proxy."""
    return any(environment.get(name) for name in PROXY_VARIABLES)


def spare_addresses(*addresses: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Except this machine and `addresses` from what is asked of the proxy, for this process and those that it starts."""
    if not proxied(environment):
        return
    for name, other in zip(EXCEPTIONS, reversed(EXCEPTIONS), strict=True):
        known = [part.strip() for part in (environment.get(name) or environment.get(other, "")).split(",") if part.strip()]
        if known != ["*"]:  # everything is excepted, and some programs read the star only when it stands alone
            environment[name] = ",".join(dict.fromkeys([*known, *THIS_MACHINE, *addresses]))
