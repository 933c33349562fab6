"""What `down` removes from the machine's own folders: what our programs made there, and nothing that others did."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import leftovers
from tests.cluster.leftovers import record_absent, remove_made


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine's root on which none of the places exist yet."""
    for folder in ("etc", "run", "usr/libexec", "var/lib", "var/log"):
        (tmp_path / "machine" / folder).mkdir(parents=True)
    return tmp_path / "machine"


@pytest.fixture
def directory(tmp_path: Path, machine: Path) -> Path:
    """A cluster's directory, with what was absent on record."""
    directory = tmp_path / "cluster"
    directory.mkdir()
    record_absent(directory, machine)
    return directory


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for the name of a socket."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def write(machine: Path, *names: str) -> None:
    for name in names:
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(name)


def files(machine: Path) -> list[str]:
    return sorted(str(path.relative_to(machine)) for path in machine.rglob("*") if not path.is_dir())


OURS = (
    "etc/cni/net.d/cni.lock",
    "run/containerd/runc/k8s.io/0a1b/state.json",
    "var/lib/cni/results/finetune-0a1b-eth0",
    "var/lib/cni/results/cni-loopback-0a1b-lo",
    "var/lib/containers/cache/blob-info-cache-v1.boltdb",
    "var/lib/kubelet/device-plugins/kubelet_internal_checkpoint",
)
THEIRS = (
    "etc/cni/net.d/10-theirs.conflist",
    "run/containerd/runc/moby/0a1b/state.json",
    "usr/libexec/kubernetes/kubelet-plugins/volume/exec/their-driver",
    "var/lib/cni/results/their-network-0a1b-eth0",
    "var/lib/containers/storage/overlay/layer/file",
    "var/lib/kubelet/config.yaml",
    "var/log/containers/theirs.log",
)


def test_what_our_programs_made_goes_with_its_folders(machine: Path, directory: Path) -> None:
    write(machine, *OURS)
    for empty in ("usr/libexec/kubernetes/kubelet-plugins/volume/exec", "run/containerd/s", "var/log/containers"):
        (machine / empty).mkdir(parents=True, exist_ok=True)
    remove_made(directory, machine)
    assert files(machine) == []
    assert [place for place in leftovers.MADE if (machine / place[1:]).exists()] == []


def test_what_others_made_while_the_cluster_was_up_stays(machine: Path, directory: Path) -> None:
    write(machine, *OURS, *THEIRS)
    remove_made(directory, machine)
    assert files(machine) == sorted(THEIRS)


def test_a_place_that_was_there_before_is_left_as_it_is(machine: Path, tmp_path: Path) -> None:
    write(machine, *OURS)
    record_absent(tmp_path, machine)
    remove_made(tmp_path, machine)
    assert files(machine) == sorted(OURS)


def test_links_to_the_clusters_logs_go_and_others_stay(machine: Path, directory: Path) -> None:
    links = machine / "var/log/containers"
    links.mkdir()
    (links / "ours.log").symlink_to(directory / "pods" / "0.log")
    (links / "theirs.log").symlink_to("/var/log/pods/0.log")
    remove_made(directory, machine)
    assert [link.name for link in links.iterdir()] == ["theirs.log"]


def test_what_is_mounted_below_a_place_is_not_entered(machine: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(machine, "run/containerd/runc/k8s.io/mounted/file")
    monkeypatch.setattr(leftovers, "mounts_below", lambda path: [path / "mounted"])
    remove_made(directory, machine)
    assert files(machine) == ["run/containerd/runc/k8s.io/mounted/file"]


def test_a_link_in_place_of_a_folder_is_not_followed(machine: Path, directory: Path, tmp_path: Path) -> None:
    write(tmp_path, "elsewhere/cache/blob-info-cache-v1.boltdb")
    (machine / "var/lib/containers").symlink_to(tmp_path / "elsewhere")
    remove_made(directory, machine)
    assert (tmp_path / "elsewhere/cache/blob-info-cache-v1.boltdb").exists()


def test_the_socket_of_a_running_shim_stays_and_that_of_an_ended_one_goes(short: Path, directory: Path) -> None:
    sockets = short / "run/containerd/s"
    sockets.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as running, socket.socket(socket.AF_UNIX) as ended:
        running.bind(str(sockets / "running"))
        ended.bind(str(sockets / "ended"))
        ended.close()
        remove_made(directory, short)
        assert [path.name for path in sockets.iterdir()] == ["running"]
