"""Words for what other libraries find wrong with a model's files. Test: tests/trainer/model/test_load.py."""

FIX = "give a folder as written by save_pretrained of model and tokenizer, of an architecture that transformers itself knows"


def first_line(error: Exception) -> str:
    """Return the first line of another library's error message, shortened."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
