"""A Ray of one node with only the processes that a run without a dashboard needs.

`ray.init` always starts the server behind the dashboard, the agent that collects figures for it, and an autoscaler, which import a lot
and serve nobody here; no setting of Ray's leaves them out. Remain: gcs_server, raylet, the agent of runtime environments, and the
log monitor, which brings the workers' words to the terminal. The caller says how many workers come up before one is asked for: Ray's
own number is that of the processors. Imported when Ray is started.
Tests: tests/trainer/driver/test_raynode.py (real Ray).
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray._private.node
import ray._private.services as services
import ray._raylet
from ray._private.node import Node

core: Any = ray._raylet
"""Compiled, with a stub that lacks some names."""
AGENT_PORTS = (core.METRICS_AGENT_PORT_NAME, core.METRICS_EXPORT_PORT_NAME, core.DASHBOARD_AGENT_LISTEN_PORT_NAME)
NO_PORT = -1
"""What the agent of a Ray that was installed without its dashboard tells the raylet."""
IDLE_AGENT = [sys.executable, "-I", "-S", str(Path(__file__).with_name("idleagent.py"))]
"""The raylet wants an agent, and ends with it."""
AGENT_ARGUMENT = "--dashboard_agent_command="
PRESTART_ARGUMENT, AT_ONCE_ARGUMENT = "--num_prestart_python_workers=", "--maximum_startup_concurrency="


class LeanNode(Node):  # type: ignore[misc]
    """Ray's node, without what serves its dashboard and without an autoscaler."""

    workers_beforehand = 0
    """How many worker processes it starts before any is asked for."""

    def start_api_server(self, **_: Any) -> None:
        """Start nothing, and have no address of a dashboard, as Ray without one."""
        self._webui_url = ""

    def start_monitor(self) -> None:
        """Start nothing."""

    def start_raylet(self, *arguments: Any, **named: Any) -> None:
        """Start the raylet with an agent that is idle, and say in its place that it serves nothing."""
        for port in AGENT_PORTS:
            core.persist_port(self._session_dir, self._node_id, port, NO_PORT)
        whole = services.start_ray_process

        def start(command: list[str], *rest: Any, **options: Any) -> Any:
            return whole([changed(argument, self.workers_beforehand) for argument in command], *rest, **options)

        services.start_ray_process = start
        try:
            super().start_raylet(*arguments, **named)
        finally:
            services.start_ray_process = whole


def changed(argument: str, workers_beforehand: int) -> str:
    """Return an argument of the raylet, changed where it names the agent or how many workers start beforehand, and at once.

    Ray starts no more at once than there are processors, and those beforehand that are above it not at all.
    """
    if argument.startswith(AGENT_ARGUMENT):
        return AGENT_ARGUMENT + subprocess.list2cmdline(IDLE_AGENT)
    if argument.startswith(PRESTART_ARGUMENT):
        return f"{PRESTART_ARGUMENT}{workers_beforehand}"
    if argument.startswith(AT_ONCE_ARGUMENT):
        return f"{AT_ONCE_ARGUMENT}{max(int(argument.removeprefix(AT_ONCE_ARGUMENT)), workers_beforehand)}"
    return argument


@contextlib.contextmanager
def lean_node(workers_beforehand: int) -> Iterator[None]:
    """Have `ray.init` start a LeanNode with so many worker processes."""
    ray._private.node.Node = type("Lean", (LeanNode,), {"workers_beforehand": workers_beforehand})
    try:
        yield
    finally:
        ray._private.node.Node = Node
