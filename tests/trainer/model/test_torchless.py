"""A program without torch loads the tokenizers that one with torch loads."""

import json
import subprocess
import sys
from pathlib import Path

from tests.repository import REPOSITORY
from tests.trainer.fixtures.causal import located_folder
from trainer.model.tokenizer import load_tokenizer

TURNS = [{"role": "user", "content": "a job: naïve 東京"}]
PROGRAM = """
import json, os, sys
from tests.trainer.fixtures.causal import located_folder
from pathlib import Path
from trainer.model.tokenizer import load_tokenizer

tokenizer = load_tokenizer(located_folder(Path(sys.argv[1])))
tokens = tokenizer.apply_chat_template(json.loads(sys.argv[2]))["input_ids"]
without = not {"torch"} & sys.modules.keys() and "TRANSFORMERS_NO_ADVISORY_WARNINGS" not in os.environ
print(json.dumps([without, tokens, tokenizer.decode(tokens)]))
"""

BESIDE = """
import sys
from trainer.model.torchless import import_torch_beside, import_transformers

import_torch_beside()
import_transformers()
from transformers.utils import is_torch_available
print("torch" in sys.modules, is_torch_available())
"""


MEANWHILE = """
import threading
import trainer.model.torchless

seen = []
def other():
    import torch
    seen.append(torch.__version__)

with trainer.model.torchless.without_torch():
    import transformers
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
from transformers.utils import is_torch_available
print(len(seen), is_torch_available())
"""


def test_another_thread_that_needs_torch_finds_it_meanwhile() -> None:
    done = subprocess.run([sys.executable, "-c", MEANWHILE], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def test_who_asks_for_transformers_while_torch_is_imported_gets_it_with_torch() -> None:
    done = subprocess.run([sys.executable, "-c", BESIDE], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_tokens_are_the_same_without_torch(saved_model: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(saved_model), json.dumps(TURNS)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    without, tokens, text = json.loads(done.stdout.splitlines()[-1])

    tokenizer = load_tokenizer(located_folder(saved_model))
    assert without, "torch was imported for a tokenizer"
    assert tokens == tokenizer.apply_chat_template(TURNS)["input_ids"]
    assert text == tokenizer.decode(tokens)
    assert "PyTorch was not found" not in done.stderr
