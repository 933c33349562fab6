"""The models that write variants are found and known to write before anything starts, and errors name the job's field."""

from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import InputError
from tests.builders import train_config
from tests.trainer.fixtures.causal import save_tiny_model
from tests.trainer.fixtures.encoders import save_encoder
from tests.trainer.fixtures.seq2seq import save_tiny_seq2seq
from trainer.preflight.rewriters import digests_of, rewriters_of
from trainer.tasks.chat import CHAT
from trainer.tasks.language_modeling import LANGUAGE_MODELING

FIELD = "augmentation.operations[1]"


def found(task: Any = CHAT, **operation: Any) -> Any:
    return rewriters_of(train_config(augmentation={"operations": [{"wordSwap": {}}, operation]}), task)


def test_local_models_are_identified_by_their_files(tmp_path: Path) -> None:
    writer, translator = save_tiny_model(tmp_path / "writer"), save_tiny_seq2seq(tmp_path / "translator", "marian")
    [written] = found(paraphrase={"model": {"path": str(writer)}}).items()
    assert written[0] == f"{FIELD}.paraphrase.model"
    both = found(backTranslation={"there": {"path": str(translator)}, "back": {"path": str(translator)}})
    assert list(both) == [f"{FIELD}.backTranslation.there", f"{FIELD}.backTranslation.back"]
    before = digests_of(dict([written]))
    (writer / "generation_config.json").write_text('{"temperature": 2.0}')
    assert digests_of(found(paraphrase={"model": {"path": str(writer)}})) != before


def test_a_model_that_is_not_there_is_reported_with_its_field(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        found(paraphrase={"model": {"path": str(tmp_path / "none")}})
    assert caught.value.field == f"{FIELD}.paraphrase.model.path"


def test_a_model_that_does_not_write_is_refused(tmp_path: Path) -> None:
    encoder, writer = save_encoder(tmp_path / "encoder"), save_tiny_model(tmp_path / "writer")
    with pytest.raises(InputError, match=r"paraphrase\.model: .* is no model that writes; give one that is causal or encoder-decoder"):
        found(paraphrase={"model": {"path": str(encoder)}})
    with pytest.raises(InputError, match=r"backTranslation\.there: .* is no encoder-decoder"):
        found(backTranslation={"there": {"path": str(writer)}, "back": {"path": str(writer)}})


def test_texts_that_are_learned_themselves_are_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"augmentation\.operations\[1\]: task language-modeling learns the texts themselves"):
        found(LANGUAGE_MODELING, paraphrase={"model": {"path": str(tmp_path)}})
