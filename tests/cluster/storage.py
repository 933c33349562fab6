"""A default StorageClass whose volumes are directories of this machine, writable by any user of a pod.

Run as a program beside the cluster: `python -m tests.cluster.storage KUBECONFIG DIRECTORY`. It binds each new claim of
its class at once and removes the directory of a volume that was released.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.api import ApiError, ApiServer

PROVISIONER = "finetune.dev/hostpath"
CLASS = "standard"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
POLL_SECONDS = 0.5
CLASSES_PATH = "/apis/storage.k8s.io/v1/storageclasses"
VOLUMES_PATH = "/api/v1/persistentvolumes"


def apply_storage_class(api: ApiServer) -> None:
    """Make the class that claims without a class get."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }
    api.apply(f"{CLASSES_PATH}/{CLASS}", storage_class)


@dataclass(frozen=True)
class Provisioner:
    """Brings volumes and claims together, one full look at a time: nothing is remembered between two looks."""

    api: ApiServer
    directory: Path

    def reconcile(self) -> None:
        """Make a volume for each claim that waits, remove those that were released."""
        for claim in self.api.get("/api/v1/persistentvolumeclaims")["items"]:
            if (
                claim["spec"].get("storageClassName") == CLASS
                and not claim["spec"].get("volumeName")
                and "deletionTimestamp" not in claim["metadata"]
            ):
                self._provision(claim)
        for volume in self.api.get(VOLUMES_PATH)["items"]:
            ours = volume["metadata"].get("annotations", {}).get(PROVISIONED_BY) == PROVISIONER
            if ours and volume.get("status", {}).get("phase") == "Released" and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
                self._remove(volume)

    def _provision(self, claim: Mapping[str, Any]) -> None:
        metadata = claim["metadata"]
        name = f"pvc-{metadata['uid']}"
        folder = self.directory / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # pods run as any user, and a host path is not handed over to fsGroup
        reference = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        }
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
            "spec": {
                "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
                "accessModes": claim["spec"]["accessModes"],
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": CLASS,
                "claimRef": reference,
                "hostPath": {"path": str(folder), "type": "Directory"},
            },
        }
        try:
            self.api.request("POST", VOLUMES_PATH, volume)
        except ApiError as error:
            if error.status != 409:  # made a moment ago, and not yet bound
                raise

    def _remove(self, volume: Mapping[str, Any]) -> None:
        folder = Path(volume["spec"]["hostPath"]["path"])
        if folder.parent == self.directory and re.fullmatch(r"pvc-[0-9a-f-]{36}", folder.name):
            shutil.rmtree(folder, ignore_errors=True)
        self.api.request("DELETE", f"{VOLUMES_PATH}/{volume['metadata']['name']}")


def main(kubeconfig: Path, directory: Path) -> None:
    """Reconcile until the process is ended; an API server that is away is waited for."""
    config = json.loads(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    authority = kubeconfig.with_suffix(".authority")
    authority.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    provisioner = Provisioner(ApiServer(cluster["server"], authority, config["users"][0]["user"]["token"]), directory)
    while True:
        try:
            provisioner.reconcile()
        except ApiError as error:
            print(error, file=sys.stderr, flush=True)
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
