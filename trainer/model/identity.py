"""Identify a model by its content, so that another one at the same path is not mistaken for the one that a run began with.

Test: tests/trainer/model/test_identity.py.
"""

import hashlib

from trainer.model.folder import TOKENIZER_FILES
from trainer.model.location import LocatedModel, ModelKind
from trainer.storage.digest import sha256_of

SMALL_FILES = (
    "config.json", "generation_config.json", *TOKENIZER_FILES, "tokenizer_config.json", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
"""Besides the weights, the files that determine tokens, architecture and the end of an answer."""


def model_digest(located: LocatedModel, weights: str) -> str:
    """Return the sha256, in hex, of the model's small files and the digest of its `weights`.

    For a local model. One from the hub is identified by its name, and its weights are compared when a run resumes: a new commit
    there that changes only the README, say, must not fail a job whose spec cannot be changed.
    """
    listing = f"{weights}\n"
    if located.kind is ModelKind.FOLDER:
        files = (located.path / name for name in SMALL_FILES)
        listing += "".join(f"{sha256_of(file)}  {file.name}\n" for file in files if file.is_file())
    return hashlib.sha256(listing.encode()).hexdigest()
