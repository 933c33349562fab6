"""Takes tokens out of texts that people read: the controller's own log, and what pods say of themselves in a job's status.

Pure. Tests: tests/finetune/system/test_redaction.py.
"""

import re

SECRET = re.compile(r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]{8,}|\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*|\bhf_[A-Za-z0-9]{16,}")
"""Authorization headers, JSON web tokens (service accounts), tokens of the Hugging Face hub."""
REDACTED = "[redacted]"
COLOR = re.compile(r"(?:\x1b)?\[[0-9;]*m")
"""A terminal's color codes, also where the escape character before them was lost on the way."""


def redact(text: str) -> str:
    """Return the text with every token replaced."""
    return SECRET.sub(REDACTED, text)


def plain(text: str) -> str:
    """Return the text without color codes, for places that are no terminal."""
    return COLOR.sub("", text)
