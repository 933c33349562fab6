"""Own inputs beside the given ones: small models and job files of the same kinds, written where a test wants them."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.builders import changed, resource, write_documents
from tests.trainer.fixtures.causal import tiny_learner
from tests.trainer.fixtures.tokenizers import trained_tokenizer

THINGS = ("apple", "river", "stone", "cloud", "house", "horse")
PAIRS = [{"prompt": f"What color has the {thing}?", "completion": f"The {thing} is red."} for thing in THINGS]


def lines(rows: list[Any]) -> bytes:
    """Return rows as JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def turns(*contents: str | dict[str, Any], **row: Any) -> dict[str, Any]:
    """Return a row of user and assistant in turn; a turn may be given with more keys than its content."""
    messages = [
        {"role": "assistant" if index % 2 else "user", **(given if isinstance(given, dict) else {"content": given})}
        for index, given in enumerate(contents)
    ]
    return {"messages": messages, **row}


def model(folder: Path, template: str, *, eos: str = "</s>", tied: bool = False) -> Path:
    """Write a tiny model whose tokenizer has this chat template."""
    return tiny_learner(folder, trained_tokenizer(template, eos=eos), tied=tied, width=16)


def job(folder: Path, model_folder: Path, files: Mapping[str, bytes], metadata: Mapping[str, Any] | None = None, **sections: Any) -> Path:
    """Write a job that trains on the first of `files`, and those files beside it; `sections` replace those of its spec."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    training = {"maxSteps": 2, "globalBatchSize": 2, "microBatchSize": 2, "maxSequenceLength": 256}
    defaults = {
        "model": {"path": str(model_folder)},
        "data__train": [{"path": next(iter(files))}],
        "method__lora__rank": 4,
        "training": training,
    }
    document = changed(resource("own", **defaults), **{f"spec__{section}": content for section, content in sections.items()})
    return write_documents(folder / "job.yaml", {**document, "metadata": {**document["metadata"], **(metadata or {})}})


def gzipped(content: bytes) -> bytes:
    """Return the content as gzip writes it, the same every time."""
    return gzip.compress(content, mtime=0)
