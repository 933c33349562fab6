"""What transformers lists of itself is the same from the cache, and a cache that is no good changes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers.utils import import_utils

from tests.repository import REPOSITORY
from tests.trainer.model.listing import digest_of_the_list
from trainer.model.quickimport import SCANNER, Kept, packed, unpacked

MODELS = Path(import_utils.__file__).parents[1] / "models"
PROGRAM = """
import sys
from tests.trainer.model.listing import digest_of_the_list
from trainer.model.quickimport import keep_what_transformers_lists
keep_what_transformers_lists()
import transformers.utils.import_utils as utils
print(type(getattr(utils, sys.argv[2])).__name__, digest_of_the_list(utils, sys.argv[1]))
from transformers import LlamaConfig, PreTrainedTokenizerFast
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def scan(place):
    return import_utils.create_import_structure_from_path(str(place))


def test_the_list_of_all_models_comes_back_from_json() -> None:
    found = scan(MODELS)
    assert len(found) > 300
    assert unpacked(json.loads(json.dumps(packed(found)))) == found


def test_the_models_are_read_once_and_other_folders_each_time(cache: Path) -> None:
    read = []

    def counted(place):
        read.append(Path(place))
        return scan(place)

    first, second = Kept(counted, MODELS), Kept(counted, MODELS)
    assert first(MODELS) == first(str(MODELS / "__init__.py")) == second(MODELS) == scan(MODELS)
    assert read == [MODELS]
    assert second(MODELS / "llama") == second(MODELS / "llama") == scan(MODELS / "llama")
    assert read == [MODELS, MODELS / "llama", MODELS / "llama"]
    assert [file.suffix for file in (cache / "imports").iterdir()] == [".json"]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"a": 1}, []]', "null"])
def test_a_broken_cache_is_written_again(cache: Path, content: str) -> None:
    Kept(scan, MODELS)(MODELS)
    (file,) = (cache / "imports").iterdir()
    file.write_text(content)
    assert Kept(scan, MODELS)(MODELS) == scan(MODELS)
    assert len(file.read_text()) > 100_000


def test_a_cache_that_cannot_be_written_is_done_without(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    assert Kept(scan, MODELS)(MODELS) == scan(MODELS)


def test_transformers_lists_the_same_with_it_in_a_first_and_a_later_process() -> None:
    def lines(program: str) -> str:
        command = [sys.executable, "-c", program, str(MODELS), SCANNER]
        return subprocess.run(command, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=True).stdout

    first, later = lines(PROGRAM), lines(PROGRAM)
    assert first == later
    assert first.split() == ["Kept", digest_of_the_list(import_utils, MODELS)]
