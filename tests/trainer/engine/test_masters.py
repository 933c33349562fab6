"""Whatever is trained is held in float32 where the engine keeps no float32 masters, for every method and kind of model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from finetune.api.sections import Deepspeed, Precision
from tests.builders import train_config
from tests.trainer.fixtures.causal import located_folder, save_tiny_model, tiny_tokenizer
from tests.trainer.fixtures.encoders import MASKED, SPANS, classes_family, save_encoder
from tests.trainer.fixtures.seq2seq import save_tiny_seq2seq
from tests.trainer.fixtures.tinymodels import tiny
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.deepspeed import DeepspeedEngine
from trainer.engine.optimizer import AdamW
from trainer.engine.precision import DTYPES, weights_dtype
from trainer.objectives.family import CAUSAL_LM, Family
from trainer.objectives.seq2seq import SEQ2SEQ_LM
from trainer.rank.loading import trainable_model

CPU, SETTINGS = torch.device("cpu"), EngineSettings(AdamW(0.1), 1.0, 1, 1)
FAMILIES: dict[str, Family] = {
    "causal": CAUSAL_LM, "experts": CAUSAL_LM, "seq2seq": SEQ2SEQ_LM, "classes": classes_family(), "spans": SPANS, "masked": MASKED,
    "modern": classes_family(),
}  # fmt: skip
ENCODERS = ("classes", "spans", "masked", "modern")
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"lora": {"rank": 4}},
    "dora": {"lora": {"rank": 4, "useDora": True}},
    "embeddings": {"lora": {"rank": 4, "targetModules": ["embed_tokens", "lm_head", "q_proj"]}},
    "osf": {"osf": {}},
    "full": {"full": {}},
    "embeddings frozen": {"full": {"freeze": {"embeddings": True, "layers": 1}}},
    "body frozen": {"full": {"freeze": {"body": True}}},
}
PLAIN = ("causal", "seq2seq", *ENCODERS)
ONLY = {"dora": PLAIN, "osf": PLAIN, "embeddings": ("causal",), "body frozen": ENCODERS}
CASES = [(kind, method) for method in METHODS for kind in ONLY.get(method, FAMILIES)]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    tiny("mixtral").save_pretrained(folder / "experts")
    tiny_tokenizer().save_pretrained(folder / "experts")
    bert = save_encoder(folder / "bert")
    return {
        "causal": save_tiny_model(folder / "causal", tied=False), "experts": folder / "experts", "classes": bert, "spans": bert,
        "masked": bert, "modern": save_encoder(folder / "modern", model_type="modernbert"),
        "seq2seq": save_tiny_seq2seq(folder / "t5", "t5"),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys did not match:RuntimeWarning")  # PEFT's own, of experts
@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize(("kind", "method"), CASES, ids=lambda value: value)
def test_what_is_trained_is_float32_and_only_what_is_frozen_has_sixteen_bits(
    bases: dict[str, Path], kind: str, method: str, precision: str
) -> None:
    config = train_config(method=METHODS[method], training={"epochs": 1, "precision": precision})
    held, family = weights_dtype(config, CPU), FAMILIES[kind]
    model, _ = trainable_model(config, family, located_folder(bases[kind]), held, CPU)

    trained = {name: parameter.dtype for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name, dtype in trained.items() if dtype is not torch.float32} == set()
    assert any("modules_to_save" in name for name in trained) is (kind in ENCODERS and "full" not in METHODS[method])
    if "lora" in METHODS[method]:
        assert held is DTYPES[Precision(precision)]
        assert held in {parameter.dtype for parameter in model.parameters() if not parameter.requires_grad}
    assert DdpEngine(model, SETTINGS, CPU, dtype=DTYPES[Precision(precision)]).trained_elements() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_engines_without_masters_refuse_to_train_sixteen_bits(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2).to(dtype))
    for build in (lambda: DdpEngine(model, SETTINGS, CPU), lambda: DeepspeedEngine(model, Deepspeed(zero_stage=0), SETTINGS, CPU)):
        with pytest.raises(RuntimeError, match=r"2 weights, such as 1\.weight, would be trained in 16 bits"):
            build()
    model[1].requires_grad_(False)
    DdpEngine(model, SETTINGS, CPU)
