"""Loads the tokenizer of a model that `locate` found; a driver does so without torch. Test: tests/trainer/model/test_load.py."""

from typing import TYPE_CHECKING

from finetune.api.errors import InputError
from trainer.model.faults import FIX, first_line
from trainer.model.location import LocatedModel, folder_of
from trainer.model.torchless import import_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(located: LocatedModel) -> "PreTrainedTokenizerBase":
    """Load the tokenizer; raises InputError when its files cannot be used, and what `folder_of` raises."""
    import_transformers()
    from transformers import AutoTokenizer

    folder = folder_of(located)  # that a disk is full while it is made is no fault of the files
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except MemoryError:
        raise
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise InputError(located.field, f"the tokenizer in {located.path} cannot be loaded: {first_line(error)}", FIX) from error
    return tokenizer
