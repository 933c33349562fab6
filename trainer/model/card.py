"""The README.md beside an export: what it is, how to load and use it, how good it is, and what it was made from.

Its parts are in cardmetadata.py, cardcode.py and cardtables.py. Pure text, but for the license, which is read from the base model's
own card. Test: tests/trainer/model/test_card.py.
"""

from collections.abc import Sequence

from finetune.api.record import ModelProvenance
from finetune.api.sources import CLAIMS_DIRECTORY
from finetune.api.tasks import TASKS, TaskName
from trainer.model.beside import Origin
from trainer.model.cardcode import Use, asking, loading
from trainer.model.cardmetadata import Described, license_beside, metadata
from trainer.model.cardtables import figures_section, rows_section, settings_section
from trainer.model.location import LocatedModel, ModelKind
from trainer.model.quantization import in_words


def adapter_card(origin: Origin, base: str, revision: str | None, kind: str | None = "LoRA", head: Sequence[str] = ()) -> str:
    """Return the card of an adapter, of a `kind` such as LoRA, for the model that `base` (and the hub's commit `revision`) loads.

    `head` names the modules that were trained as a whole.
    """
    code = loading(origin.family, base, revision, str(origin.dtype).removeprefix("torch."), origin.quantization, head)
    made = f"{'An' if kind == 'OSF' else 'A'} {kind} adapter, trained by the job {origin.job} {_task(origin.task)}"
    return _card(origin, "adapter", made, code, [_elsewhere(origin.located, base, revision)], adapter=True)


def merged_card(origin: Origin, kind: str | None, *, frozen: bool = False) -> str:
    """Return the card of a whole model; `kind` is that of the adapter which is merged in, `frozen` whether some weights were not."""
    whole = "with all weights trained but those that were frozen" if frozen else "with all weights trained"
    how = f"with the {kind} adapter merged in" if kind is not None else whole
    if origin.quantization is not None:
        how = f"with the {kind} adapter, which was trained on weights in {in_words(origin.quantization)}, merged into the original weights"
    made = f"A whole model, {how}, trained by the job {origin.job} {_task(origin.task)} It needs no other file."
    return _card(origin, "whole model", made, loading(origin.family, None, None, "", None), [], adapter=False)


def _card(origin: Origin, form: str, made: str, code: list[str], on_base: list[str], *, adapter: bool) -> str:
    report, located = origin.report, origin.located
    # A model that has learned a corpus is a folder, made from the one that the job names.
    base = located.request.name or (located.name if located.revision is not None else None)
    model = Described(origin.job, origin.task, origin.family, adapter, base, license_beside(located.path))
    use = Use(bool(getattr(origin.tokenizer, "chat_template", None)), origin.wording, _new_tokens(origin))
    parts = [
        f"# {origin.job}: {form}",
        made,
        "## How to use it",
        "\n".join(["```python", *code, *asking(origin.family, use), "```"]),
        _commands(origin.task),
        figures_section(report),
        "## The base model",
        _base(origin.provenance),
        *on_base,
        rows_section(report),
        settings_section(report),
    ]
    return f"---\n{metadata(model, report)}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _task(task: TaskName) -> str:
    return f"for the task {task}: {TASKS[task].description}."


def _new_tokens(origin: Origin) -> int:
    generation = origin.report.get("hyperparameters", {}).get("evaluation", {}).get("generation") or {}
    return int(generation.get("maxNewTokens") or Use.new_tokens)


def _commands(task: TaskName) -> str:
    talk = ", or `finetune chat .` to talk to it" if task is TaskName.CHAT else ""
    return f'With the command, in this folder: `finetune predict . --prompt "…"`, or with `--input FILE` for the rows of a file{talk}.'


def _base(provenance: ModelProvenance) -> str:
    revision = f", commit {provenance.revision}" if provenance.revision else ""
    return (
        f"The base model is {provenance.name}{revision} (from: {provenance.source}; weights {provenance.precision}, "
        f"{provenance.digest}). `base-weights.json` holds the same for programs.{_earlier(provenance)}"
    )


def _earlier(provenance: ModelProvenance) -> str:
    """Say which job made the base model."""
    made = provenance.fine_tune_job
    if made is None:
        return ""
    uid = f", UID {made.uid}" if made.uid else ""
    step = f", with the weights of its step {made.step}" if made.step is not None else ""
    return f" It was fine-tuned from the model of an earlier job (job {made.name}{uid}){step}."


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
