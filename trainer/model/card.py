"""The README.md beside an export: what it is, what it was made from, and the few lines of Python that load it.

Pure text. The lines are run by tests/trainer/model/test_card.py.
"""

from finetune.api.record import ModelProvenance
from finetune.api.sources import CLAIMS_DIRECTORY
from trainer.model.beside import Origin
from trainer.model.location import LocatedModel, ModelKind


def adapter_card(origin: Origin, base: str, revision: str | None) -> str:
    """Return the card of an adapter for the model that `base` (and the hub's commit `revision`) loads."""
    job, auto_class, dtype = origin.job, origin.family.auto_class, str(origin.dtype).removeprefix("torch.")
    at_revision = f", revision={revision!r}" if revision else ""
    load = "\n".join([
        "from peft import PeftModel",
        f"from transformers import {auto_class}, AutoTokenizer",
        "",
        'folder = "."  # the folder of this file',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f"base = {auto_class}.from_pretrained({base!r}{at_revision}, dtype={dtype!r})",
        "model = PeftModel.from_pretrained(base, folder)",
    ])  # fmt: skip
    head = ["library_name: peft", "pipeline_tag: text-generation", "tags: [lora]"]
    if revision:
        head.append(f"base_model: {base}")
    parts = [
        f"A LoRA adapter, trained by the job {job}.",
        _code(load),
        _base(origin.provenance),
        _elsewhere(origin.located, base, revision),
    ]
    return _card(head, f"{job}: adapter", parts)


def merged_card(origin: Origin, *, lora: bool) -> str:
    """Return the card of a whole model."""
    job, auto_class = origin.job, origin.family.auto_class
    made = "with the LoRA adapter merged in" if lora else "with all weights trained"
    load = "\n".join([
        f"from transformers import {auto_class}, AutoTokenizer",
        "",
        'folder = "."  # the folder of this file',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f"model = {auto_class}.from_pretrained(folder)",
    ])  # fmt: skip
    parts = [f"A whole model, {made}, trained by the job {job}. It needs no other file.", _code(load), _base(origin.provenance)]
    return _card(["library_name: transformers", "pipeline_tag: text-generation"], f"{job}: whole model", parts)


def _base(provenance: ModelProvenance) -> str:
    revision = f", commit {provenance.revision}" if provenance.revision else ""
    return (
        f"The base model is {provenance.name}{revision} (from: {provenance.source}; weights {provenance.precision}, "
        f"{provenance.digest}). `base-weights.json` holds the same for programs."
    )


def _elsewhere(located: LocatedModel, base: str, revision: str | None) -> str:
    """Say what to do when the base is not where the adapter says it is."""
    if revision:
        return "The adapter fits that commit of the base; a later one may have other weights."
    words = (
        f"`{base}` is where the base was{_on_claim(base)} when this was written. If it is elsewhere now, pass that folder instead; "
        "the adapter fits only weights with the digest above."
    )
    if located.kind is ModelKind.GGUF:
        words += (
            f" These weights were dequantized: `python -m trainer.model.gguf {located.path} FOLDER` makes the folder again. The model "
            "of that name on the hub has other weights."
        )
    return words


def _on_claim(base: str) -> str:
    """Say which claim a path in a pod is on: the path means nothing elsewhere."""
    if not base.startswith(f"{CLAIMS_DIRECTORY}/"):
        return ""
    claim, _, path = base.removeprefix(f"{CLAIMS_DIRECTORY}/").partition("/")
    return f" in the job's pods (`{path or '.'}` on the PersistentVolumeClaim {claim})"


def _code(lines: str) -> str:
    return f"```python\n{lines}\n```"


def _card(head: list[str], title: str, parts: list[str]) -> str:
    return "\n".join(["---", *head, "---", "", f"# {title}", "", "\n\n".join(parts), ""])
