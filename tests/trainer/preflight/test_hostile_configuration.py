"""The configuration of a model inside a model cannot turn on code that lies beside it (as in CVE-2026-5241).

The trap leaves a file when it is imported; that transformers would import it, told to trust it, is tried first.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from finetune.api.errors import InputError
from finetune.api.sources import ModelSource
from tests.trainer.fixtures.causal import tiny_learner
from trainer.model.location import locate
from trainer.preflight.architecture import configuration_of

HOSTILE = {"trust_remote_code": True, "auto_map": {"AutoConfig": "configuration_trap.Config", "AutoModel": "configuration_trap.Model"}}
NESTED: Mapping[str, Mapping[str, Any]] = {
    "lightglue": {"keypoint_detector_config": {"model_type": "superpoint"}},
    "a detector of another kind": {"model_type": "lightglue", "keypoint_detector_config": {"model_type": "trap"}},
    "encoder-decoder": {"encoder": {"model_type": "bert"}, "decoder": {"model_type": "bert", "is_decoder": True}},
    "an encoder of another kind": {"model_type": "encoder-decoder", "encoder": {"model_type": "trap"}, "decoder": {"model_type": "bert"}},
    "llava": {"text_config": {"model_type": "llama"}, "vision_config": {"model_type": "clip_vision_model"}},
    "a text model of another kind": {"model_type": "llava", "text_config": {"model_type": "trap"}},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's folder with the trap in it."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    tiny_learner(tmp_path / "model", width=32)
    (tmp_path / "model" / "configuration_trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n")
    return tmp_path / "model"


@pytest.mark.parametrize("kind", NESTED)
def test_a_model_in_a_model_turns_no_code_on(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config, sprung = folder / "config.json", folder.parent / "sprung"
    monkeypatch.setattr(sys, "path", [*sys.path])
    config.write_text(json.dumps({"model_type": "trap", **HOSTILE}))
    with pytest.raises(Exception, match=r"configuration_trap|Config"):
        AutoConfig.from_pretrained(folder, trust_remote_code=True)
    assert sprung.exists(), "the trap works"
    sprung.unlink()

    parts = {name: {**part, **HOSTILE, "_name_or_path": str(folder)} for name, part in NESTED[kind].items() if isinstance(part, dict)}
    config.write_text(json.dumps({"model_type": kind, **NESTED[kind], **parts, **HOSTILE}))
    with suppress(InputError):  # most are of no kind that transformers reads
        assert configuration_of(locate(ModelSource(path=str(folder)))).model_type == NESTED[kind].get("model_type", kind)
    assert not sprung.exists()
