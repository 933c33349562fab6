import pytest

from finetune.system.redaction import plain, redact

WEB_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Authorization: Bearer abcdefgh12345678", "Authorization: [redacted]"),
        (f"token={WEB_TOKEN}, sent", "token=[redacted], sent"),
        ("HF_TOKEN=hf_AbCdEfGhIjKlMnOpQrStUv\nnext line", "HF_TOKEN=[redacted]\nnext line"),
        ("the bearer of news read hf_dataset", "the bearer of news read hf_dataset"),
    ],
    ids=["header", "web token", "hub token", "no secret"],
)
def test_tokens_are_replaced_and_nothing_else(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    ("text", "expected"),
    [("\x1b[36m(worker)\x1b[0m step 1", "(worker) step 1"), ("[36m(worker)[0m", "(worker)"), ("list[0] of [1;2]", "list[0] of [1;2]")],
    ids=["whole codes", "codes without their escape character", "brackets that are none"],
)
def test_color_codes_are_taken_out_and_nothing_else(text: str, expected: str) -> None:
    assert plain(text) == expected
