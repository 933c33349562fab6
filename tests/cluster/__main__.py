"""The command line of the test cluster: preflight, build, up, down, status."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from types import FrameType

from tests.cluster.api import ApiError
from tests.cluster.binaries import CONTROL_PLANE, NODE, build, kubectl
from tests.cluster.buildah import ImageError
from tests.cluster.controlplane import start_control_plane
from tests.cluster.helm import CHART, HelmError, install
from tests.cluster.instances import CONTROL_PLANE_TIER, NODE_TIER, instances, sweep
from tests.cluster.node import NodeCluster, own_addresses, preflight, start_node_cluster
from tests.cluster.openapi import download_all
from tests.cluster.packages import NodeTierUnavailableError
from tests.cluster.processes import ProcessError
from tests.cluster.proxies import proxied
from tests.cluster.toolchain import BuildError

EXPECTED_ERRORS = (ApiError, BuildError, HelmError, ImageError, NodeTierUnavailableError, ProcessError)
NOTHING_UP = "no cluster is up"


def main(arguments: list[str]) -> int:
    """Run one command; what is expected to go wrong is told in one message, without a trace."""
    signal.signal(signal.SIGTERM, _interrupt)
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except EXPECTED_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what was half up has been taken down", file=sys.stderr)
        return 130


def preflight_command(options: argparse.Namespace) -> int:
    sweep()
    preflight()
    return 0


def build_command(options: argparse.Namespace) -> int:
    build(CONTROL_PLANE if options.tier == CONTROL_PLANE_TIER else NODE)
    download_all()
    return 0


def up_command(options: argparse.Namespace) -> int:
    sweep()
    started = time.monotonic()
    if options.tier == CONTROL_PLANE_TIER:
        return _up_control_plane(started)
    cluster = start_node_cluster(with_images=options.images)
    try:
        if options.images:
            install(cluster.kubeconfig)
        cluster.instance.release()
    except BaseException:
        cluster.stop()
        raise
    print(f"\nThe cluster is up after {time.monotonic() - started:.0f} s.\n")
    print(_next_steps(cluster, installed=options.images))
    return 0


def down_command(options: argparse.Namespace) -> int:
    """Take down every cluster that was left up; one that belongs to a running test is not ours to end."""
    found = list(instances())
    for instance in found:
        if instance.owner is None or instance.orphaned:
            instance.tear_down()
            print(f"removed {instance.directory.name}")
        else:
            print(f"left alone: {instance.directory.name} belongs to the running process {instance.owner.pid}")
    if not found:
        print(NOTHING_UP)
    return 0


def status_command(options: argparse.Namespace) -> int:
    found = list(instances())
    for instance in found:
        owner = instance.owner
        belongs = "up" if owner is None else f"belongs to process {owner.pid}"
        print(f"{instance.directory.name}: {belongs}; KUBECONFIG={instance.kubeconfig}")
        for name in instance.processes.names():
            state = "running" if instance.processes.alive(name) else "ended"
            print(f"  {name:<24} {state:<8} {instance.processes.logs / name}.log")
    if not found:
        print(NOTHING_UP)
    return 0


def _up_control_plane(started: float) -> int:
    plane = start_control_plane()
    try:
        plane.start_kuberay()
        plane.instance.release()
    except BaseException:
        plane.stop()
        raise
    print(f"The control plane is up after {time.monotonic() - started:.0f} s.\n")
    print(f"  export KUBECONFIG={shlex.quote(str(plane.kubeconfig))}")
    return 0


def _next_steps(cluster: NodeCluster, *, installed: bool) -> str:
    lines = [f"  export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}"]
    if proxied():
        lines.append(f'  export NO_PROXY="$NO_PROXY,{",".join(own_addresses())}"')
    lines.append(f"  export PATH={shlex.quote(str(kubectl().parent))}:$PATH")
    if installed:
        lines += [
            "  kubectl apply -f manifests/samples/quickstart.yaml",
            "  kubectl get ftj --watch",
            "  kubectl get ftj -o jsonpath='{.items[0].status.dashboard}'",
            "  kubectl port-forward service/NAME 8265     # NAME as the line before tells it; the Ray dashboard",
        ]
    else:
        lines.append(f"  the project's chart is not installed (--no-images); it lies in {CHART}")
    return "\n".join([*lines, "  make cluster-down     # removes the cluster with its volumes"])


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # so that whatever is half up is taken down on the way out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True)
    tiers = (CONTROL_PLANE_TIER, NODE_TIER)
    checking = commands.add_parser("preflight", help="say what keeps a node from starting here, before anything is built")
    checking.set_defaults(run=preflight_command)
    building = commands.add_parser("build", help="build the programs of a tier into the cache")
    building.add_argument("--tier", choices=tiers, default=NODE_TIER)
    building.set_defaults(run=build_command)
    up = commands.add_parser("up", help="start a cluster and leave it up")
    up.add_argument("--tier", choices=tiers, default=NODE_TIER)
    up.add_argument("--no-images", dest="images", action="store_false", help="without the project's images and chart")
    up.set_defaults(run=up_command)
    commands.add_parser("down", help="remove every cluster that was left up").set_defaults(run=down_command)
    commands.add_parser("status", help="show what is up").set_defaults(run=status_command)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
