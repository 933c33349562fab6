"""Finds the files that a job names on this machine: paths beside the job file, keys of its ConfigMaps, folders given for claims.

Only checks that a file exists; whoever starts the run writes the ConfigMap keys later.
Tests: tests/finetune/cli/local/test_configuration.py.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from finetune.api.earlierjobs import EarlierRun
from finetune.api.errors import InputError
from finetune.api.resolve import FileReference, NamedJob
from finetune.api.sources import ClaimPath, ConfigMapKey, first_folder
from finetune.cli.jobfile.reading import JobFile
from finetune.cli.jobfile.suggestions import closest
from finetune.cli.local.earlier import earlier_run

ADDRESS = re.compile(r"[a-z][a-z0-9+.]+://", re.IGNORECASE)


class SourceFinder:
    """Answers with an absolute path for each source; collects what is wrong instead of stopping at the first mistake."""

    def __init__(
        self, job: JobFile, claims: Mapping[str, Path], config_map_folder: Path, jobs: Mapping[str, Path] = MappingProxyType({})
    ) -> None:
        self._job, self._claims, self._config_map_folder, self._jobs = job, claims, config_map_folder, jobs
        self.config_map_files: dict[Path, bytes] = {}
        self.claims_read: set[str] = set()
        self.jobs_read: set[str] = set()
        self.errors: list[InputError] = []

    def find(self, reference: FileReference) -> str:
        """Return the absolute path of the file or folder that `reference` names."""
        field = f"spec.{reference.field}"
        if reference.claim is not None:
            return self._in_claim(field, reference.claim, reference)
        if reference.config_map is not None:
            return self._in_config_map(field, reference.config_map)
        given = Path(reference.path or "").expanduser()
        if ADDRESS.match(reference.path or ""):
            fix = "download it, and give the path of the file"
            self.errors.append(InputError(f"{field}.path", f"{reference.path} is an address, not a file", fix))
            return ""
        hint = "check the path" if given.is_absolute() else "paths are relative to the job file"
        return self._existing(f"{field}.path", self._job.path.absolute().parent / given, hint, reference)

    def find_job(self, named: NamedJob) -> EarlierRun:
        """Return the run of an earlier job in the folder that was given for it."""
        self.jobs_read.add(named.name)
        found, error = earlier_run(named, self._jobs)
        if error is not None:
            self.errors.append(error)
        return found

    def _in_claim(self, field: str, place: ClaimPath, reference: FileReference) -> str:
        name = place.claim_name
        self.claims_read.add(name)
        if name not in self._claims:
            fix = f"name a folder to read in its place: --claim {name}=DIR"
            self.errors.append(InputError(f"{field}.persistentVolumeClaim.claimName", f"there is no claim {name!r} on this machine", fix))
            return ""
        hint = f"it is looked for in the folder given by --claim {name}=…"
        return self._existing(f"{field}.persistentVolumeClaim.path", self._claims[name] / place.path, hint, reference)

    def _in_config_map(self, field: str, place: ConfigMapKey) -> str:
        config_map = self._job.config_maps.get(place.name)
        if config_map is None:
            fix = "add it to the file" + (f", or {closest(place.name, self._job.config_maps)}" if self._job.config_maps else "")
            problem = f"there is no ConfigMap {place.name!r} in {self._job.path.name}"
            self.errors.append(InputError(f"{field}.configMap.name", problem, fix))
            return ""
        if place.key not in config_map.data:
            problem = f"ConfigMap {place.name} has no key {place.key!r}"
            self.errors.append(InputError(f"{field}.configMap.key", problem, closest(place.key, config_map.data)))
            return ""
        path = self._config_map_folder / place.name / place.key
        self.config_map_files[path] = config_map.data[place.key]
        return str(path)

    def _existing(self, field: str, path: Path, hint: str, reference: FileReference) -> str:
        """Return the absolute path; of a pattern, whose matches the trainer looks for, the folder that it begins with must exist."""
        try:
            if reference.has_pattern and not path.exists():
                begin = first_folder(path).resolve()
                pattern = path.relative_to(first_folder(path))
                if not begin.is_dir():
                    self.errors.append(InputError(field, f"there is no folder {begin}, in which {pattern} is looked for", hint))
                return str(begin / pattern)
            path = path.resolve()
            if not path.exists():
                braces = "; braces are not expanded: use * or list each file as its own source" if "{" in path.name else ""
                self.errors.append(InputError(field, f"there is nothing at {path}", hint + braces))
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.errors.append(InputError(field, f"{path} cannot be looked at: {reason}", "check the path and its permissions"))
        return str(path)
