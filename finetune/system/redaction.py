"""Takes secrets out of texts that people read: the controller's own log, what pods say of themselves in a job's status, kept logs.

Two ways: by form, which works everywhere for the forms below, and by value, where the environment that holds the secrets is at hand.
Words about tokens of a text ("pad_token: </s>", "tokens/s 2527") are no secrets. The texts are the user's: every pattern takes time in
proportion to the text, as a run of characters that it repeats is begun once (a lookbehind), kept whole (`++`) or bounded.
Pure. Tests: tests/finetune/system/test_redaction.py.
"""

import re
from collections.abc import Iterable, Mapping

SECRET = re.compile(
    r"(?i)\bbearer\s++[A-Za-z0-9._~+/=-]{8,}"
    r"|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]*+){1,3}"
    r"|\bhf_[A-Za-z0-9]{16,}"
    r"|(?-i:\b(?:AKIA|ASIA)[A-Z0-9]{16}\b)"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bsk-[A-Za-z0-9_-]{32,}"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"
)
"""Bearer tokens, JSON web tokens (service accounts), tokens of the Hugging Face hub, key ids of AWS, tokens of GitHub, GitLab and
model services, private keys."""
IN_ADDRESS = re.compile(r"(?<=://)(?:[^/\s:@'\"\[]*+:(?:[^/\s'\"]+|(?!\d{1,5}/)[^/\s@'\"]*+/[^\s@'\"]{0,200})|[^/\s:@'\"]{16,}+)(?=@)")
"""User and password, or a token, before the host of an address. A password may have an @ or a /; a number before a / is a port."""
IN_QUERY = re.compile(r"(?i)([?&](?:[\w.-]{0,40}(?:token|signature|credential|secret|password|key)|sig)=)[^&\s'\"<>)]+")
"""What signs an address: S3, Azure, Google."""
QUOTE = r"(?:\\{0,4}[\"'])?"
"""Also of JSON inside JSON."""
IS = rf"{QUOTE}\s*+[=:]\s*+{QUOTE}"
NOT_YET = r"(?!\[redacted\])"
VALUE = r"(?:[^\s\"'&,;)}\]\\]|\\(?![\"'\\]))"
NAMED = (
    r"(?:passw(?:or)?d|[_-]secret|secret[_-]?(?:access[_-]?)?key|(?:api|private|account|shared[_-]?access)[_-]?key"
    r"|(?:access|auth|session|security|refresh|hub|hf|api|bearer)[_-]?token)"
)
IN_QUOTES = r"(?:(?!(?P=quote))(?:\\.|[^\n]))"
QUOTED = re.compile(
    rf"(?i)({NAMED}{QUOTE}\s*+[=:]\s*+(?P<quote>\\{{0,4}}[\"'])){NOT_YET}(?:{IN_QUOTES}{{6,199}}(?=(?P=quote))|{IN_QUOTES}{{200}})"
)
"""A value in quotes, with blanks in it."""
ASSIGNED = re.compile(rf"(?i)({NAMED}{IS}){NOT_YET}{VALUE}{{6,}}")
"""A value after a name that says it is secret, as in settings, JSON, headers and connection strings."""
HEADER = re.compile(
    rf"(?i)(authorization{IS}(?:(?:basic|negotiate|token|apikey)\s++|(?={VALUE}{{16}}))"
    rf"|(?<=-)authorization{IS}(?!(?:basic|negotiate|token|apikey)\s)){NOT_YET}{VALUE}{{6,}}"
)
"""Another scheme than Bearer, and headers such as X-Ray-Authorization. After a plain `authorization:` short words are words."""
OF_TEXT = r"(?:pad|eos|bos|unk|sep|cls|mask|image)[_-]token"
"""Tokens of a tokenizer."""
VARIABLE = re.compile(rf"(\b(?!(?i:{OF_TEXT}))[A-Z][A-Z0-9_]*_(?:TOKEN|KEY|SECRET|PASSWORD){IS}){NOT_YET}[A-Za-z0-9+/=_.~-]{{8,}}")
"""An environment variable, as in a shell, in YAML and in JSON."""
OPTION = re.compile(
    rf"(?i)((?<![\w-])--(?!{OF_TEXT})(?:[\w-]{{0,40}}[_-])?(?:token|passw(?:or)?d|secret|(?:api|access|secret)[_-]?key)"
    rf"(?:=|\s++(?!(?:argument|option|parameter|setting|instead|without|because|required?|requires|provided)s?\b)){QUOTE})"
    rf"(?![<\[-]){VALUE}{{8,}}"
)
"""An option of a command."""
REDACTED = "[redacted]"
COLOR = re.compile(r"(?:\x1b)?\[[0-9;]*m")
"""A terminal's color codes, also where the escape character before them was lost on the way."""

SECRET_WORDS = frozenset({"TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "CREDENTIALS", "KEY", "APIKEY", "PAT"})
"""Words of a variable's name that say that its value is secret."""
NAMES_OF_FILES = frozenset({"FILE", "PATH", "DIR", "HOME"})
VALUE_MIN_LENGTH = 8
"""Shorter values are settings such as `token`, and would be found inside other words."""


def redact(text: str, values: Iterable[str] = ()) -> str:
    """Return the text with everything replaced that looks like a secret, and with each of `values`, the longest first."""
    for value in values:
        text = text.replace(value, REDACTED)
    text = IN_ADDRESS.sub(REDACTED, SECRET.sub(REDACTED, text))
    for pattern in (IN_QUERY, HEADER, QUOTED, ASSIGNED, VARIABLE, OPTION):
        text = pattern.sub(rf"\g<1>{REDACTED}", text)
    return text


def secret_values(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of variables whose names say that they are secret, the longest first; of several lines each."""
    found = set[str]()
    for name, value in environment.items():
        words = name.upper().split("_")
        if SECRET_WORDS.intersection(words) and words[-1] not in NAMES_OF_FILES:
            found.update(line.strip() for line in value.splitlines())
    return tuple(sorted((value for value in found if len(value) >= VALUE_MIN_LENGTH), key=len, reverse=True))


def plain(text: str) -> str:
    """Return the text without color codes, for places that are no terminal."""
    return COLOR.sub("", text)


def printable(text: str) -> str:
    """Return the text without what makes a terminal act or reorder: color codes go, other control and format characters become blanks.

    Line ends and tabs stay.
    """
    text = plain(text)
    return text if text.isprintable() else "".join(sign if sign.isprintable() or sign in "\n\t" else " " for sign in text)
