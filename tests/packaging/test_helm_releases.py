"""The chart by the real helm on a real API server: every file of values, upgrades and rollbacks under jobs, releases side by side.

There is no node, so nothing waits for pods; the controller of a release runs as a process (`releases.py`).
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.api import ApiError
from tests.cluster.binaries import binary
from tests.cluster.controlplane import ControlPlane
from tests.cluster.helm import CHART, HelmError
from tests.packaging.releases import (
    DEFINITION,
    PATIENCE_SECONDS,
    PREVIOUS,
    QUICK_ELECTION,
    Release,
    dry_run,
    gone,
    identity,
    jobs_of,
    make_namespace,
    owner_of,
    ray_jobs,
    submit,
)
from tests.packaging.rendered import CI, run_template

pytestmark = pytest.mark.integration

FILES = [pytest.param(path, id=path.stem.removesuffix("-values")) for path in CI]
[NAMESPACED] = [path for path in CI if path.stem == "namespaced-values"]
NewRelease = Callable[..., Release]
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
KEPT = (f"{ADMISSION}/validatingadmissionpolicybindings/{{}}", f"{ADMISSION}/validatingadmissionpolicies/{{}}")
"""What stays when a release goes, beside the definition."""
WITHOUT_DEFINITION = ("--set", "crds.enabled=false")


@pytest.mark.parametrize("values", FILES)
def test_helm_finds_nothing_to_object_to(values: Path) -> None:
    command = [str(binary("helm")), "lint", "--strict", str(CHART), "--values", str(values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("values", FILES)
def test_the_api_server_accepts_every_object(defined: ControlPlane, values: Path) -> None:
    # The definition takes the server longer than all the rest; two files are enough for it.
    more = () if values.stem in {"default-values", "pinned-values"} else WITHOUT_DEFINITION
    rendered = run_template("--values", str(values), *more, namespace="default")
    assert rendered.returncode == 0, rendered.stderr
    done = dry_run(defined, rendered.stdout)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == rendered.stdout.count("\nkind: ")


def test_the_api_server_would_refuse_a_field_that_it_does_not_know(defined: ControlPlane) -> None:
    rendered = run_template("--values", str(CI[0]), *WITHOUT_DEFINITION, namespace="default").stdout
    wrong = rendered.replace("imagePullPolicy:", "imagePolicy:", 1)
    done = dry_run(defined, wrong)
    assert done.returncode != 0
    assert "imagePolicy" in done.stderr


@pytest.fixture
def new_release(control_plane: ControlPlane) -> Iterator[NewRelease]:
    """Return a function that names a release; what is installed goes after the test."""
    made: list[Release] = []

    def name(name: str, namespace: str, kubeconfig: Path | None = None) -> Release:
        made.append(Release(control_plane, name, namespace, kubeconfig))
        return made[-1]

    yield name
    for release in made:
        release.helm("uninstall", release.name, "--ignore-not-found")
        for path in (kept.format(release.full_name) for kept in KEPT):
            if control_plane.api.exists(path):
                control_plane.api.request("DELETE", path)


def test_jobs_outlive_an_upgrade_from_the_previous_chart_a_rollback_and_the_release(
    bare: ControlPlane, new_release: NewRelease, tmp_path: Path
) -> None:
    team = make_namespace(bare, "team")
    release = new_release("tuning", make_namespace(bare, "ops"))

    def there() -> list[tuple[str, str]]:
        return sorted(map(identity, [*jobs_of(bare, team), *ray_jobs(bare, team)]))

    release.install(chart=PREVIOUS)
    submit(bare, team, "first")
    [first] = there()
    # The values of the previous chart and none of the new: what is missing has its default.
    release.upgrade("--reuse-values", **QUICK_ELECTION)
    assert there() == [first]
    with release.controller(tmp_path / "controller.log") as controller:
        controller.wait("started", lambda: ray_jobs(bare, team))
        started = there()
        assert "Phase:          Succeeded" in release.run_test(controller)

        release.helm("rollback", release.name, "1")
        assert release.chart_version() == "0.1.0"
        assert there() == started
        release.upgrade("--reset-then-reuse-values")
        assert release.chart_version() != "0.1.0"
        assert there() == started

        submit(bare, team, "second")
        controller.wait("started the second job", lambda: len(ray_jobs(bare, team)) == 2)
        assert set(started) < set(there())
        numbers = [[attempt["number"] for attempt in each["status"]["attempts"]] for each in jobs_of(bare, team)]
        assert numbers == [[1], [1]]
    left = there()
    release.helm("uninstall", release.name)
    assert not release.deployed()
    assert there() == left
    # Heads that still run share an account, which only these limit to their own progress.
    policies = [kept.format(release.full_name) for kept in KEPT]
    assert [bare.api.exists(path) for path in policies] == [True, True]
    release.install()
    release.upgrade("--reuse-values", jobs__sharedAccount=False)
    assert [bare.api.exists(path) for path in policies] == [True, True]
    assert there() == left


def test_a_definition_belongs_to_one_release_and_goes_only_with_one_that_does_not_keep_it(
    bare: ControlPlane, new_release: NewRelease
) -> None:
    keeps, deletes = (new_release(name, make_namespace(bare, name)) for name in ("keeps", "deletes"))
    keeps.install()
    with pytest.raises(HelmError, match="invalid ownership metadata"):
        deletes.install()
    keeps.helm("uninstall", keeps.name)
    assert bare.api.exists(DEFINITION)
    deletes.install("--take-ownership", crds__keep=False)
    deletes.helm("uninstall", deletes.name)
    assert gone(bare, DEFINITION)


def test_owners_of_two_namespaces_run_a_release_each_without_a_right_outside_and_each_runs_its_own_jobs(
    defined: ControlPlane, new_release: NewRelease, tmp_path: Path
) -> None:
    teams = [make_namespace(defined, name) for name in ("team-a", "team-b")]
    one, two = (new_release("finetune-operator", team, owner_of(defined, team)) for team in teams)
    for release in (one, two):
        release.install("--values", str(NAMESPACED), watchNamespace=release.namespace, **QUICK_ELECTION)
        submit(defined, release.namespace, "bot")
    with one.controller(tmp_path / "one.log") as first, two.controller(tmp_path / "two.log") as second:
        for controller, release in ((first, one), (second, two)):
            controller.wait("started", lambda: ray_jobs(defined, release.namespace))  # noqa: B023 - asked before the next turn
            assert "forbidden" not in controller.log.read_text().lower()
    for release, other in ((one, two), (two, one)):
        assert release.may("create", "rayjobs.ray.io", release.namespace)
        assert not release.may("create", "rayjobs.ray.io", other.namespace)
        assert not release.may("list", "finetunejobs.finetune.dev", other.namespace)


def test_pods_are_admitted_where_the_restricted_level_is_enforced(defined: ControlPlane, new_release: NewRelease) -> None:
    """The Deployment's, made by the cluster's own controllers. The test of upgrades has those of jobs and of `helm test`."""
    release = new_release("restricted", make_namespace(defined, "ops"))
    release.install(crds__enabled=False, replicas=2)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(pods := release.pods()) < 2:
        assert time.monotonic() < deadline, release.deployment()["status"]
        time.sleep(0.1)
    [container] = pods[0]["spec"]["containers"]
    loose = {"metadata": {"name": "loose"}, "spec": {**pods[0]["spec"], "containers": [{**container, "securityContext": {}}]}}
    with pytest.raises(ApiError, match="violates PodSecurity"):
        defined.api.request("POST", f"/api/v1/namespaces/{release.namespace}/pods", loose)
