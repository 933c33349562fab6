"""Where a job's model and rows come from: sections that controller and trainer both read.

They are in the FineTuneJob's spec as the user wrote them and go into TrainConfig with every claim, ConfigMap and relative
path resolved to an absolute path. A sentence under each field is its documentation: it appears in the CRD and so in
`kubectl explain`. Tests: tests/finetune/api/test_sources.py, tests/integration/test_malformed_jobs.py.
"""

import re
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Annotated, ClassVar

from pydantic import Field

from finetune.api.base import Rule, WireModel, at_most_one, exactly_one
from finetune.api.columns import Columns
from finetune.api.earlierjobs import JobReference

CLAIMS_DIRECTORY = "/mnt/claims"
"""Where the controller mounts claims, each in a folder of its name; a path below it was written as a persistentVolumeClaim."""

Fraction = Annotated[float, Field(ge=0.001, le=0.5)]
KEY_NAME = r"^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"
"""A key of a ConfigMap or Secret, which may not begin with two dots: a ConfigMap's key also becomes the end of a path."""
OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
"""Names of claims, ConfigMaps and Secrets; a claim's and a ConfigMap's name also becomes part of a mount path."""
MODEL_NAME = r"^[A-Za-z0-9][-._A-Za-z0-9]*(/[A-Za-z0-9][-._A-Za-z0-9]*)?$"

LANGUAGE = r"^[a-z]{2,3}([-_][A-Za-z0-9]{2,8})*$"
"""A language as BCP 47 or a model's tokenizer writes it: en, pt-BR, zh_Hans, deu_Latn."""
REVISION = r"^[A-Za-z0-9_][-A-Za-z0-9_@#=,()!%+]*([./][-A-Za-z0-9_@#=,()!%+]+)*$"
"""A commit, branch or tag on the hub, which also becomes part of a path in the cache: no two dots follow each other."""
DATASET_NAME = r"^[A-Za-z0-9_][-._A-Za-z0-9]*(/[A-Za-z0-9_][-._A-Za-z0-9]*)?$"

UNSEEN = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
"""Characters that make a terminal act, break a line, reorder it or hide. A path is in mount points, addresses, status and logs.

Others without a form of their own are parts of words: Persian and the scripts of India join letters by U+200C and U+200D.
"""


def _stays_inside(path: str) -> bool:
    return not (path.startswith("/") or ".." in path.split("/") or re.search(f"[{UNSEEN}]", path))


INSIDE_CLAIM = Rule(
    r"!self.path.matches(r'^/|(^|/)[.][.](/|$)|[" + re.sub(r"\\u(\w{4})", r"\\x{\1}", UNSEEN) + "]')",
    lambda claim: _stays_inside(claim.path),
    "path: a path inside the claim is relative and has no '..' and no control characters",
)


def is_pattern(path: str) -> bool:
    """Return whether a path names files by a pattern, unless a file is really called so."""
    return any(character in path for character in "*?[")


def first_folder(pattern: PurePath) -> Path:
    """Return the folder of a pattern before its first part that is one."""
    parts = list(pattern.parts)
    first = next((index for index, part in enumerate(parts) if is_pattern(part)), len(parts))
    return Path(*parts[:first])


class DataFormat(StrEnum):
    """File formats a source may have."""

    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    TEXT = "text"


class HuggingFaceDataset(WireModel):
    """A data set on the Hugging Face hub."""

    name: str = Field(min_length=1, max_length=200, description="Name on the hub, such as org/set.")
    split: str = Field("train", min_length=1, max_length=200, description="Split to read.")
    config: str | None = Field(None, min_length=1, max_length=200, description="Configuration (subset) of the data set.")
    revision: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=REVISION,
        description="Commit to read; without it the newest is read, and its commit is recorded.",
    )

    rules = (
        Rule(
            f"self.name.matches('{DATASET_NAME}') && !self.name.startsWith('datasets/')",
            lambda dataset: re.fullmatch(DATASET_NAME, dataset.name) is not None and not dataset.name.startswith("datasets/"),
            "huggingFace.name: give the name as the hub shows it, organization/set, such as HuggingFaceH4/no_robots,"
            " without https://huggingface.co/ and datasets/ before it; for files use persistentVolumeClaim or path",
        ),
    )


class ClaimPath(WireModel):
    """A file or folder on a PersistentVolumeClaim of the job's namespace."""

    claim_name: str = Field(max_length=253, pattern=OBJECT_NAME, description="Name of the PersistentVolumeClaim.")
    path: str = Field("", max_length=1024, description="Path inside the claim, relative to its root.")

    rules = (INSIDE_CLAIM,)


class ConfigMapKey(WireModel):
    """One key of a ConfigMap of the job's namespace."""

    name: str = Field(max_length=253, pattern=OBJECT_NAME, description="Name of the ConfigMap.")
    key: str = Field(
        min_length=1,
        max_length=253,
        pattern=KEY_NAME,
        description="Key in it; its ending says the format.",
    )


class SecretKey(WireModel):
    """One key of a Secret of the job's namespace. Only the kubelet reads it."""

    name: str = Field(max_length=253, pattern=OBJECT_NAME, description="Name of the Secret.")
    key: str = Field(min_length=1, max_length=253, pattern=KEY_NAME, description="Key in it.")


class Source(WireModel):
    """Rows from one place. Exactly one of huggingFace, persistentVolumeClaim, configMap, path."""

    hugging_face: HuggingFaceDataset | None = Field(None, description="A data set on the Hugging Face hub.")
    persistent_volume_claim: ClaimPath | None = Field(None, description="A file, folder or pattern on a claim.")
    config_map: ConfigMapKey | None = Field(None, description="A key of a ConfigMap.")
    path: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="A local file, folder or pattern such as a/*.jsonl, relative to the job file; for `finetune run` only."
        " Files of a folder or pattern (** goes into folders below) are read in the order of their names, hidden ones left out;"
        " of a folder also README, license and the like.",
    )
    format: DataFormat | None = Field(
        None,
        description="Format of the files; default: from the ending of their names. Files packed with gzip, zstd, bzip2 or xz are unpacked."
        " jsonl and json: an object per line, or one array of objects; csv and tsv: a table with a header line;"
        " text: a row is a paragraph, up to a blank line.",
    )
    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        pattern=r'^[^"\r\n]$',
        description="Character between the cells of csv or tsv. Default: the one of comma, semicolon, tab and | that divides the header.",
    )
    columns: Columns | None = Field(None, description="Which columns hold what.")
    source_language: str | None = Field(
        None,
        max_length=35,
        pattern=LANGUAGE,
        description="Language of the texts to translate, as a code such as en or pt-BR, for task translation.",
    )
    target_language: str | None = Field(None, max_length=35, pattern=LANGUAGE, description="Language of their translations.")

    rules = (
        Rule(
            "has(self.sourceLanguage) == has(self.targetLanguage)",
            lambda source: (source.source_language is None) == (source.target_language is None),
            "sourceLanguage, targetLanguage: give both, or none",
        ),
        exactly_one("hugging_face", "persistent_volume_claim", "config_map", "path", what="source"),
        Rule(
            "!has(self.huggingFace) || (!has(self.format) && !has(self.delimiter))",
            lambda source: source.hugging_face is None or (source.format is None and source.delimiter is None),
            "format, delimiter: only files have them; remove them beside huggingFace",
        ),
    )


class FileSource(WireModel):
    """One file from one place. Exactly one of persistentVolumeClaim, configMap, path."""

    persistent_volume_claim: ClaimPath | None = Field(None, description="A file on a claim.")
    config_map: ConfigMapKey | None = Field(None, description="A key of a ConfigMap.")
    path: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="A local file, relative to the job file; for `finetune run` only.",
    )

    rules = (exactly_one("persistent_volume_claim", "config_map", "path", what="source"),)


class Initialization(StrEnum):
    """Where the weights that training begins with come from."""

    PRETRAINED = "pretrained"
    RANDOM = "random"


class ModelSource(WireModel):
    """The pre-trained model. Exactly one of name, persistentVolumeClaim, path, fineTuneJob."""

    name: str | None = Field(
        None,
        max_length=200,
        description="Name on the Hugging Face hub.",
    )
    persistent_volume_claim: ClaimPath | None = Field(None, description="A folder on a claim, in the layout of save_pretrained.")
    path: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="A local folder, relative to the job file; for `finetune run` only.",
    )
    fine_tune_job: JobReference | None = Field(
        None,
        description="The model that another job has made, in its merged form. The job waits until that one has succeeded, and goes on with"
        " what it found then.",
    )
    revision: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=REVISION,
        description="Commit on the hub; with it the model comes from the hub and nowhere else.",
    )
    token_secret: SecretKey | None = Field(None, description="Secret with a hub token, for gated models.")
    initialization: Initialization = Field(
        Initialization.PRETRAINED,
        description="random reads configuration and tokenizer alone and draws all weights from training.seed as the architecture does:"
        " what training from it achieves shows what pre-training gives. Only with method.full.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one("name", "persistent_volume_claim", "path", "fine_tune_job", what="model"),
        Rule(
            f"!has(self.name) || self.name.matches('{MODEL_NAME}')",
            lambda m: m.name is None or re.fullmatch(MODEL_NAME, m.name) is not None,
            "model.name: give the name as the hub shows it, organization/model, such as HuggingFaceTB/SmolLM2-135M-Instruct;"
            " for a folder use model.persistentVolumeClaim or model.path",
        ),
        Rule(
            "!has(self.revision) || has(self.name)",
            lambda m: m.revision is None or m.name is not None,
            "model.revision: only a model with a name has one",
        ),
        Rule(
            "!has(self.tokenSecret) || has(self.name)",
            lambda m: m.token_secret is None or m.name is not None,
            "model.tokenSecret: only a model with a name needs one",
        ),
        Rule(
            "!has(self.fineTuneJob) || self.initialization != 'random'",
            lambda m: m.fine_tune_job is None or m.initialization is not Initialization.RANDOM,
            "model.initialization: the model of an earlier job is begun with for its weights; leave random out, or name another model",
        ),
    )


class Data(WireModel):
    """Rows to train on and rows to measure on. Rows that are equal always fall on the same side of a split."""

    train: list[Source] = Field(min_length=1, max_length=64, description="Sources of training rows.")
    validation: list[Source] | None = Field(None, min_length=1, max_length=64, description="Sources of validation rows.")
    validation_fraction: Fraction | None = Field(
        None, description="Share of the training rows held out for validation instead, by content hash."
    )
    test: list[Source] | None = Field(None, min_length=1, max_length=64, description="Sources of test rows.")
    test_fraction: Fraction | None = Field(None, description="Share of the training rows held out for the test instead, by content hash.")
    max_train_rows: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(
        None,
        description="Train on at most so many of the training rows, after all splits, drawn by training.seed and content hash: fewer rows"
        " are always among more of them. Of classes, each gets its turn, so that all keep rows.",
    )

    rules = (
        at_most_one("validation", "validation_fraction", what="data"),
        at_most_one("test", "test_fraction", what="data"),
    )
