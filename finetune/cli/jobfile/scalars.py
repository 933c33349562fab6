"""What a scalar of YAML means to kubectl: a text, a number, true, false or nothing. Pure.

kubectl reads YAML 1.1 with the Go module go.yaml.in/yaml/v2 (resolve.go) and turns it into JSON: `on` and `y` are true, `012`
is 10, and a number that JSON writes without a point or exponent is an integer, so that `1e3` and `2.0` fit where a whole number
is wanted. Tests: tests/finetune/cli/jobfile/test_scalars.py, and against kubectl itself tests/finetune/cli/test_kubectl.py.
"""

import base64
import binascii
import math
import re
from decimal import Decimal

Scalar = str | int | float | bool | None

TAG = "tag:yaml.org,2002:"
TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
FALSE = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
NULL = frozenset({"", "~", "null", "Null", "NULL"})
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
INTEGER = re.compile(r"([-+]?)(?:(0[xX][0-9a-fA-F]+)|(0[bB][01]+)|(0[oO]?[0-7]+)|(0|[1-9][0-9]*))")
BETWEEN_DIGITS = re.compile(r"(?<=[0-9])_(?=[0-9])")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
LARGEST_INTEGER, LARGEST_UNSIGNED = 2**63 - 1, 2**64 - 1
EXPONENT_FROM = 1e21
"""From here on Go's JSON writes a number with an exponent, and it is no longer an integer."""


class ScalarError(ValueError):
    """A scalar cannot be what it says it is; the text says why."""


def plain(text: str) -> Scalar:
    """Return what `text` means without quotes and without a tag; ScalarError for .inf and .nan, which JSON does not have."""
    if text in NULL:
        return None
    if text in TRUE or text in FALSE:
        return text in TRUE
    if NOT_FINITE.fullmatch(text):
        raise ScalarError(f"{text} is not a number that a job can hold")
    number = _number(text)
    return text if number is None else as_json(number)


def tagged(tag: str, text: str) -> Scalar:
    """Return what `text` means under an explicit `tag`; ScalarError where the two do not go together."""
    name = tag.removeprefix(TAG)
    if name == "binary":
        try:
            return base64.b64decode("".join(text.splitlines()), validate=True).decode()
        except (binascii.Error, ValueError):
            raise ScalarError("what follows !!binary is not base64 of a string") from None
    if name not in ("bool", "int", "float", "null"):
        return text
    value, number = plain(text), _number(text)
    fits = {"bool": isinstance(value, bool), "null": value is None, "int": isinstance(number, int), "float": number is not None}
    if not fits[name]:
        raise ScalarError(f"{text!r} is not what !!{name} says")
    return value


def as_json(number: int | float) -> int | float:
    """Return the number as it comes out of Go's JSON: an integer wherever the digits fit 64 bits, else a float."""
    if isinstance(number, float) and (abs(number) >= EXPONENT_FROM or not number.is_integer()):
        return number
    whole = int(Decimal(repr(number)))
    return whole if -LARGEST_INTEGER - 1 <= whole <= LARGEST_INTEGER else float(number)


def key_text(key: Scalar) -> str:
    """Return a key as JSON has it, as a text; ScalarError for a key that is nothing."""
    if key is None:
        raise ScalarError("a key is empty")
    if isinstance(key, bool):
        return "true" if key else "false"
    return f"{key:.8g}" if isinstance(key, float) else str(key)


def _number(text: str) -> int | float | None:
    if not text or text[0] not in "+-.0123456789":
        return None
    digits = BETWEEN_DIGITS.sub("", text) if text[0] == "." else text.replace("_", "")
    number = _integer(digits)
    if number is None and FLOAT.fullmatch(digits) and math.isfinite(float(digits)):
        return float(digits)
    return number


def _integer(digits: str) -> int | None:
    match = INTEGER.fullmatch(digits)
    if match is None:
        return None
    sign, hexadecimal, binary, octal, decimal = match.groups()
    if hexadecimal or binary:
        number = int(hexadecimal or binary, 0)
    elif octal:
        number = int(octal.lower().replace("o", ""), 8)
    else:
        number = int(decimal) if len(decimal) <= 20 else LARGEST_UNSIGNED + 1
    if number > (LARGEST_UNSIGNED if not sign else LARGEST_INTEGER + (sign == "-")):
        return None
    return -number if sign == "-" else number
