"""The models that write variants are found and known to write before anything starts, and errors name the job's field."""

from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import InputError
from tests.builders import train_config
from tests.trainer.fixtures.causal import save_tiny_model
from tests.trainer.fixtures.encoders import save_encoder
from tests.trainer.fixtures.multilingual import marian_tokenizer, mbart_tokenizer, nllb_tokenizer
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
    with pytest.raises(InputError, match=r"paraphrase\.model: .* does not generate text; give one that is causal or encoder-decoder"):
        found(paraphrase={"model": {"path": str(encoder)}})
    with pytest.raises(InputError, match=r"backTranslation\.there: .* is not a translation model \(encoder-decoder\)"):
        found(backTranslation={"there": {"path": str(writer)}, "back": {"path": str(writer)}})


def tagged(folder: Path, *tags: str) -> Any:
    return marian_tokenizer(folder, tags)


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize(
    ("kind", "tokenizer"),
    [
        pytest.param("t5", None, id="told in words"),
        pytest.param("bart", nllb_tokenizer, id="a code for each language"),
        pytest.param("bart", mbart_tokenizer, id="a code behind the text"),
        pytest.param("marian", (">>deu<<",), id="the token of one target"),
        pytest.param("marian", (">>deu<<", ">>fra<<"), id="tokens of several targets"),
    ],
)
def test_a_translation_model_that_must_be_told_the_languages_is_refused(tmp_path: Path, kind: str, tokenizer: Any) -> None:
    one_way = save_tiny_seq2seq(tmp_path / "one", "marian")
    read = tagged(tmp_path / "files", *tokenizer) if isinstance(tokenizer, tuple) else tokenizer and tokenizer()
    told = save_tiny_seq2seq(tmp_path / "told", kind, read)
    problem = r"backTranslation\.back: .* must be told the languages with each text, and back-translation passes only the text; give"
    with pytest.raises(InputError, match=problem):
        found(backTranslation={"there": {"path": str(one_way)}, "back": {"path": str(told)}})
    assert found(paraphrase={"model": {"path": str(told)}}), "a paraphrase is asked for in words"


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_a_marian_model_without_a_token_of_a_language_translates_back(tmp_path: Path) -> None:
    model = str(save_tiny_seq2seq(tmp_path / "one", "marian", tagged(tmp_path / "files")))
    assert len(found(backTranslation={"there": {"path": model}, "back": {"path": model}})) == 2


def test_texts_that_are_learned_themselves_are_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"augmentation\.operations\[1\]: task language-modeling learns the texts themselves"):
        found(LANGUAGE_MODELING, paraphrase={"model": {"path": str(tmp_path)}})
