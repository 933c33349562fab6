"""kubectl with the API server, and `finetune`, take and refuse the same job files."""

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetune.api import crd
from finetune.api.errors import BadInputError
from finetune.cli.jobfile.reading import read_job_file
from tests.cluster.api import ApiError
from tests.cluster.binaries import kubectl
from tests.cluster.controlplane import ControlPlane
from tests.integration.job_files import CONFIG_MAP, JOB, KINDS_OF_CASES

pytestmark = pytest.mark.integration

DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/finetunejobs.finetune.dev"
JOBS = "/apis/finetune.dev/v1alpha1/namespaces/default/finetunejobs"
Create = Callable[[Path], str | None]


@pytest.fixture(scope="module")
def refusal(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Create:
    """What kubectl says where it or the API server refuses a file; nothing is stored."""
    control_plane.api.apply(DEFINITION, crd.manifest_text().encode())
    control_plane.api.wait_for(DEFINITION, "Established")
    cache = f"--cache-dir={tmp_path_factory.mktemp('discovery')}"
    command = [str(kubectl()), "--kubeconfig", str(control_plane.kubeconfig), cache, "create", "--dry-run=server", "--filename"]

    def create(path: Path) -> str | None:
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=60, check=False)
        return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else None

    return create


def our_refusal(path: Path) -> str | None:
    try:
        read_job_file(path)
    except BadInputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", KINDS_OF_CASES)
def test_kubectl_and_finetune_take_and_refuse_the_same(refusal: Create, tmp_path: Path, kind: str) -> None:
    paths = []
    for number, text in enumerate(KINDS_OF_CASES[kind].values()):
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_bytes(text if isinstance(text, bytes) else text.encode())
    with ThreadPoolExecutor(4) as pool:
        theirs = list(pool.map(refusal, paths))
    names = [name[:100] for name in KINDS_OF_CASES[kind]]
    verdicts = list(zip(names, theirs, map(our_refusal, paths), strict=True))
    assert [verdict for verdict in verdicts if (verdict[1] is None) != (verdict[2] is None)] == []
    assert {None} < set(theirs), "a kind of cases in which all are taken, or all are refused, shows little"


def test_a_job_without_an_output_is_for_a_laptop_only(refusal: Create, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB[: JOB.index("  output:")])
    assert "spec.output: Required value" in (refusal(path) or "")
    assert not read_job_file(path).names_output


def test_a_key_that_stands_twice_is_refused_by_finetune_and_by_the_api_server_but_not_by_kubectl(
    refusal: Create, control_plane: ControlPlane, tmp_path: Path
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB + "  task: chat\n")
    assert refusal(path) is None
    assert "the key 'task' is given twice, first in line 6" in (our_refusal(path) or "")
    with pytest.raises(ApiError, match='key "task" already set in map'):
        control_plane.api.request("POST", f"{JOBS}?dryRun=All&fieldValidation=Strict", path.read_bytes(), "application/yaml")


def test_text_that_is_not_utf_8_is_refused_where_kubectl_would_store_something_else(refusal: Create, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(f"{JOB}---\n{CONFIG_MAP}data: {{a: f".encode() + b"\xfcr}\n")
    assert refusal(path) is None
    assert our_refusal(path) == f"{path}:16: is not UTF-8 text; save the file as UTF-8"
