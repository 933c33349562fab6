"""Loads the tokenizer of a model that `locate` found; a driver does so without torch. Test: tests/trainer/model/test_load.py."""

from typing import TYPE_CHECKING

from finetune.api.errors import InputError
from trainer.model.faults import FIX, first_line
from trainer.model.location import LocatedModel, folder_of
from trainer.model.torchless import import_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(located: LocatedModel) -> "PreTrainedTokenizerBase":
    """Load the tokenizer; raises InputError when its files cannot be used."""
    import_transformers()
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder_of(located), local_files_only=True, trust_remote_code=False
        )
    except RuntimeError:
        raise  # dequantizing failed, which is not the user's fault
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise InputError(located.field, f"the tokenizer in {located.path} cannot be loaded: {first_line(error)}", FIX) from error
    return tokenizer
