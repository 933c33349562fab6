"""The controller's settings, from environment variables and flags; a flag wins.

The chart fills the environment. No setting can weaken the security of a job's pods. Tests:
tests/controller/test_settings.py.
"""

import argparse
import json
import re
import socket
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from controller.job.defaults import not_allowed
from controller.jobdefaults import JobDefaults
from controller.joblimits import JobLimits, Most, Patterns, blank_is_none, from_list
from controller.runtime.elector import LONGEST_DURATION_SECONDS
from finetune.api.spec import CPU_QUANTITY, MEMORY_QUANTITY

POD_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
SECRET_NAME = re.compile(r"(?i)(TOKEN|SECRET|KEY|PASSWORD)$")
"""Names of variables whose values must not appear in every RayJob."""
HARMLESS_NAMES = frozenset({"HF_HUB_DISABLE_IMPLICIT_TOKEN"})
PASSWORD_IN_URL = re.compile(r"://[^/\s]*:[^/\s]*@")
RAY_AUTHENTICATION = "RAY_AUTH_"
"""Prefix of Ray's own variables; KubeRay sets them from the Secret of each Ray cluster."""


def _from_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else {}
    except ValueError as error:
        raise ValueError(f'is not a JSON object such as {{"HF_ENDPOINT": "https://…"}}: {error}') from error


NAMESPACES_MAX = 64
"""Nine watches are open for each; for more, watch all."""
NamespaceName = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
GPU_RESOURCE = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$"
GPU_CLAIM_TEMPLATE = r"^([a-z0-9]|\{gpus\})(([-.a-z0-9]|\{gpus\})*([a-z0-9]|\{gpus\}))?$"
Cpu = Annotated[str, Field(pattern=CPU_QUANTITY)]
Memory = Annotated[str, Field(pattern=MEMORY_QUANTITY)]
OptionalText = Annotated[str | None, BeforeValidator(blank_is_none)]


class SettingsError(Exception):
    """The settings are wrong: one line for each mistake, with the variable's name."""


class Settings(BaseModel):
    """Settings of one controller process. Each field's alias is its environment variable."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="forbid")

    namespaces: Annotated[tuple[NamespaceName, ...], BeforeValidator(from_list), Field(max_length=NAMESPACES_MAX)] = Field(
        (), alias="FINETUNE_NAMESPACES", description="Watch these namespaces only, separated by commas; without it, all."
    )
    namespace: Annotated[NamespaceName | None, BeforeValidator(blank_is_none)] = Field(
        None, alias="FINETUNE_NAMESPACE", description="One more of these: the name that charts of version 0.1.0 give."
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(32, alias="FINETUNE_WORKERS", description="Jobs reconciled at the same time.")
    resync_seconds: Annotated[float, Field(ge=1)] = Field(
        600.0, alias="FINETUNE_RESYNC_SECONDS", description="Every job is looked at this often."
    )
    kubeconfig: Annotated[Path | None, BeforeValidator(blank_is_none)] = Field(
        None, alias="KUBECONFIG", description="File with the cluster's address and credentials; without it, those of the pod."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", alias="FINETUNE_LOG_LEVEL", description="Least level that is logged."
    )

    health_host: str = Field("0.0.0.0", alias="FINETUNE_HEALTH_HOST", description="Address of probes and metrics.")  # noqa: S104
    health_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8080, alias="FINETUNE_HEALTH_PORT", description="Their port; 0 takes a free one."
    )

    lease_name: str = Field("finetune-operator", alias="FINETUNE_LEASE_NAME", min_length=1, description="Lease that elects the leader.")
    lease_namespace: OptionalText = Field(
        None, alias="FINETUNE_LEASE_NAMESPACE", description="Namespace of the Lease; by default the pod's own."
    )
    lease_duration_seconds: Annotated[float, Field(ge=1, le=LONGEST_DURATION_SECONDS)] = Field(
        15.0, alias="FINETUNE_LEASE_DURATION_SECONDS", description="A leader that was silent for so long is replaced."
    )
    lease_renew_deadline_seconds: Annotated[float, Field(gt=0)] = Field(
        10.0, alias="FINETUNE_LEASE_RENEW_DEADLINE_SECONDS", description="A leader that could not renew for so long stops working."
    )
    lease_retry_seconds: Annotated[float, Field(gt=0)] = Field(
        2.0, alias="FINETUNE_LEASE_RETRY_SECONDS", description="Pause between renewals."
    )
    identity: OptionalText = Field(None, alias="POD_NAME", description="Who we are in the Lease; by default the host's name.")

    trainer_image: str = Field(alias="TRAINER_IMAGE", min_length=1, description="Image of head, workers and submitter.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", alias="TRAINER_IMAGE_PULL_POLICY", description="As in a pod."
    )
    image_pull_secrets: Annotated[tuple[str, ...], BeforeValidator(from_list)] = Field(
        (), alias="TRAINER_IMAGE_PULL_SECRETS", description="Names of Secrets in the job's namespace, separated by commas."
    )
    trainer_env: Annotated[dict[str, str], BeforeValidator(_from_json)] = Field(
        {}, alias="TRAINER_ENV", description="Environment of head and workers, a JSON object: proxy, HF_ENDPOINT. No secrets."
    )
    ray_version: str = Field(
        "2.60.0", alias="RAY_VERSION", pattern=r"^\d+\.\d+\.\d+$", description="Version of Ray in the trainer's image."
    )
    gpu_resource: Annotated[str, Field(max_length=317, pattern=GPU_RESOURCE)] = Field(
        "nvidia.com/gpu", alias="GPU_RESOURCE", description="Resource that resources.gpus asks for, as the device plugin names it."
    )
    gpu_claim_template: Annotated[
        Annotated[str, Field(max_length=253, pattern=GPU_CLAIM_TEMPLATE)] | None, BeforeValidator(blank_is_none)
    ] = Field(
        None,
        alias="GPU_CLAIM_TEMPLATE",
        description="ResourceClaimTemplate in each job's namespace that GPUs are claimed by instead; {gpus} stands for their number.",
    )
    head_cpu: Cpu = Field("300m", alias="HEAD_CPU", description="CPU request of the Ray head.")
    head_memory: Memory = Field("4Gi", alias="HEAD_MEMORY", description="Memory request and limit of the Ray head.")
    submitter_cpu: Cpu = Field("100m", alias="SUBMITTER_CPU", description="CPU request of the pod that submits the Ray job.")
    submitter_memory: Memory = Field("512Mi", alias="SUBMITTER_MEMORY", description="Memory request and limit of that pod.")

    allowed_priority_classes: Patterns = Field(
        ("*",), alias="ALLOWED_PRIORITY_CLASSES", description="PriorityClasses that jobs may name; * matches all but system-…"
    )
    allowed_toleration_keys: Patterns = Field(
        ("*",),
        alias="ALLOWED_TOLERATION_KEYS",
        description="Taints that jobs may tolerate; * matches all but those of Kubernetes, ** every taint",
    )
    allowed_token_secrets: Patterns = Field(
        ("*",), alias="ALLOWED_TOKEN_SECRETS", description="Secrets that jobs may name in model.tokenSecret, by patterns as hf-*"
    )
    allowed_models: Patterns = Field(
        ("*",), alias="ALLOWED_MODELS", description="Models that jobs may name, by patterns as org/*, claim:NAME/* for those on a claim"
    )
    max_workers: Most = Field(None, alias="MAX_WORKERS", description="Most workers of a job.")
    max_gpus: Most = Field(None, alias="MAX_GPUS", description="Most GPUs of a job, of all its workers together.")
    namespace_limits: Annotated[dict[NamespaceName, JobLimits], BeforeValidator(_from_json)] = Field(
        {}, alias="NAMESPACE_LIMITS", description='What jobs of some namespaces may ask for instead: {"team-a": {"maxGpus": 8}}.'
    )
    job_defaults: Annotated[JobDefaults, BeforeValidator(_from_json)] = Field(
        JobDefaults(), alias="JOB_DEFAULTS", description='What jobs get that say nothing of it: {"priorityClassName": "batch"}.'
    )
    namespace_defaults: Annotated[dict[NamespaceName, JobDefaults], BeforeValidator(_from_json)] = Field(
        {}, alias="NAMESPACE_DEFAULTS", description='What those of some namespaces get instead: {"team-a": {"queueName": "team-a"}}.'
    )

    driver_policy: OptionalText = Field(
        None,
        alias="FINETUNE_DRIVER_POLICY",
        description="ValidatingAdmissionPolicy that limits drivers, which then share an account; without it each attempt has its own.",
    )

    @field_validator("trainer_env")
    @classmethod
    def _no_secrets(cls, value: dict[str, str]) -> dict[str, str]:
        secret = sorted(name for name in value if SECRET_NAME.search(name) and name.upper() not in HARMLESS_NAMES)
        if secret:
            raise ValueError(f"{', '.join(secret)} would be readable in every pod; jobs name a Secret in model.tokenSecret")
        with_password = sorted(name for name, text in value.items() if PASSWORD_IN_URL.search(text))
        if with_password:
            raise ValueError(f"{', '.join(with_password)}: the password in the URL would be readable in every pod; leave it out")
        ours = sorted(name for name in value if name.upper().startswith(RAY_AUTHENTICATION))
        if ours:
            raise ValueError(f"{', '.join(ours)} would change how Ray asks for its token; leave it to KubeRay")
        return value

    @model_validator(mode="after")
    def _leases_end_in_time(self) -> Self:
        if not self.lease_retry_seconds < self.lease_renew_deadline_seconds < self.lease_duration_seconds:
            raise ValueError(
                "FINETUNE_LEASE_RETRY_SECONDS must be less than FINETUNE_LEASE_RENEW_DEADLINE_SECONDS, and that less than "
                "FINETUNE_LEASE_DURATION_SECONDS: otherwise a leader keeps working after its lease has expired"
            )
        return self

    @model_validator(mode="after")
    def _not_too_many_namespaces(self) -> Self:
        if len(self.watched) > NAMESPACES_MAX:
            raise ValueError(
                f"FINETUNE_NAMESPACES and FINETUNE_NAMESPACE name {len(self.watched)} namespaces, at most {NAMESPACES_MAX} can be"
            )
        return self

    @model_validator(mode="after")
    def _defaults_are_allowed(self) -> Self:
        """Refuse defaults that jobs may not ask for: one of the two is a mistake."""
        wrong = [f"JOB_DEFAULTS: {words}" for words in not_allowed(self.job_defaults, self._limits)]
        # What is wrong with the defaults of all is said once, unless a namespace makes it so.
        for namespace in sorted({*self.namespace_limits, *self.namespace_defaults}):
            found = not_allowed(self.defaults_in(namespace), self.limits_in(namespace))
            wrong += [f"NAMESPACE_DEFAULTS: {namespace}: {words}" for words in found if f"JOB_DEFAULTS: {words}" not in wrong]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    @property
    def watched(self) -> tuple[str, ...]:
        """The namespaces whose jobs are run, each once; none for all."""
        return tuple(dict.fromkeys([*self.namespaces, *filter(None, [self.namespace])]))

    def limits_in(self, namespace: str) -> JobLimits:
        """Return what the jobs of a namespace may ask for."""
        return self._limits.but(self.namespace_limits.get(namespace))

    @property
    def _limits(self) -> JobLimits:
        return JobLimits(**{name: getattr(self, name) for name in JobLimits.model_fields})

    def defaults_in(self, namespace: str) -> JobDefaults:
        """Return what the jobs of a namespace get where they say nothing of it."""
        return self.job_defaults.but(self.namespace_defaults.get(namespace))

    @property
    def election_namespace(self) -> str:
        """Namespace of the Lease: as set, else the pod's own, else `default`."""
        if self.lease_namespace:
            return self.lease_namespace
        return POD_NAMESPACE_FILE.read_text(encoding="utf-8").strip() if POD_NAMESPACE_FILE.exists() else "default"

    @property
    def election_identity(self) -> str:
        """Name in the Lease, different for every process: a restarted container must not mistake its predecessor's lease for its own."""
        return f"{self.identity or socket.gethostname()}_{uuid.uuid4().hex[:8]}"


def load_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return the settings from flags (`--trainer-image`) and environment; SettingsError names what is wrong."""
    fields = Settings.model_fields
    parser = argparse.ArgumentParser(prog="python -m controller", description="Run the controller of FineTuneJobs.")
    for name, info in fields.items():
        default = "required" if info.is_required() else f"default {info.default!r}"
        text = f"{info.description} ({info.alias}; {default})".replace("%", "%%")
        parser.add_argument("--" + name.replace("_", "-"), dest=info.alias, metavar="VALUE", help=text, default=argparse.SUPPRESS)
    given = {str(info.alias): environment[str(info.alias)] for info in fields.values() if info.alias in environment}
    given |= vars(parser.parse_args(arguments))
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        # Without pydantic's input value: it may be long, and settings do not belong in a log.
        lines = [": ".join([*(str(part) for part in entry["loc"]), entry["msg"]]) for entry in error.errors(include_url=False)]
        raise SettingsError("\n".join(lines)) from error
