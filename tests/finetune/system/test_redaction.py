import time

import pytest

from finetune.system.redaction import plain, printable, redact, secret_values

WEB_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Authorization: Bearer abcdefgh12345678", "Authorization: [redacted]"),
        (f"token={WEB_TOKEN}, sent", "token=[redacted], sent"),
        ("HF_TOKEN=hf_AbCdEfGhIjKlMnOpQrStUv\nnext line", "HF_TOKEN=[redacted]\nnext line"),
        ("the bearer of news read hf_dataset", "the bearer of news read hf_dataset"),
        ("key AKIAIOSFODNN7EXAMPLE of a user", "key [redacted] of a user"),
        (f"aws_secret_access_key = {AWS_SECRET}", "aws_secret_access_key = [redacted]"),
        (f"{{'AWS_SECRET_ACCESS_KEY': '{AWS_SECRET}', 'x': 1}}", "{'AWS_SECRET_ACCESS_KEY': '[redacted]', 'x': 1}"),
        ('{"password": "correct horse battery", "x": 1}', '{"password": "[redacted]", "x": 1}'),
        (r'{\"api_key\": \"two words\"} left', r'{\"api_key\": \"[redacted]\"} left'),
        ("password=\"it's a long one\" left", 'password="[redacted]" left'),
        (f"password='{'long word ' * 50}'", f"password='[redacted]{('long word ' * 50)[200:]}'"),
        (r"""{'password': 'a \'quoted\' one', 'x': 1}""", "{'password': '[redacted]', 'x': 1}"),
        ("x-amz-security-token: IQoJb3JpZ2luX2VjEJr", "x-amz-security-token: [redacted]"),
        ("get https://me:pa55word@hub.example/a@b.json", "get https://[redacted]@hub.example/a@b.json"),
        ("clone https://a1b2c3d4e5f6a7b8c9d0@git.example/x", "clone https://[redacted]@git.example/x"),
        (
            "GET https://b.s3.amazonaws.com/x?X-Amz-Credential=AB%2F1&X-Amz-Signature=1f2e&X-Amz-Expires=60",
            "GET https://b.s3.amazonaws.com/x?X-Amz-Credential=[redacted]&X-Amz-Signature=[redacted]&X-Amz-Expires=60",
        ),
        ("https://c.blob.example/x?sv=2024&sig=ab%3D", "https://c.blob.example/x?sv=2024&sig=[redacted]"),
        ("https://hub.example/x?token=abc for it", "https://hub.example/x?token=[redacted] for it"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "[redacted]"),
        ("MIRROR_TOKEN=0123abcd4567 was set", "MIRROR_TOKEN=[redacted] was set"),
        ("Authorization: Basic dXNlcjpwYXNz, sent", "Authorization: Basic [redacted], sent"),
        ('{"authorization": "Basic dXNlcjpwYXNz"}', '{"authorization": "Basic [redacted]"}'),
        ("X-Ray-Authorization: s3cr3t-1 and more", "X-Ray-Authorization: [redacted] and more"),
        ("authorization=abcdefghijklmnop", "authorization=[redacted]"),
        ('{"HF_TOKEN": "abcdefghijklmnop"}', '{"HF_TOKEN": "[redacted]"}'),
        ("HF_TOKEN: abcdefghijklmnop", "HF_TOKEN: [redacted]"),
        (r'{"error": "{\"HF_TOKEN\": \"abcdefghijklmnop\"}"}', r'{"error": "{\"HF_TOKEN\": \"[redacted]\"}"}'),
        ('{"hf_token": "abcdefghijklmnop"}', '{"hf_token": "[redacted]"}'),
        (r"{\"password\": \"hunter2222\"}", r"{\"password\": \"[redacted]\"}"),
        ("serve --token abcdefgh --verbose", "serve --token [redacted] --verbose"),
        ("serve --hub-token='abcdefgh' x", "serve --hub-token='[redacted]' x"),
        ("AccountName=me;AccountKey=ab+cd/ef==;EndpointSuffix=x", "AccountName=me;AccountKey=[redacted];EndpointSuffix=x"),
        ("https://user:pa/ss@host/x", "https://[redacted]@host/x"),
        ("mysql://root:p@ss@host:3306/db", "mysql://[redacted]@host:3306/db"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nnext", "[redacted]\nnext"),
    ],
    ids=[
        "header", "web token", "hub token", "no secret", "AWS key id", "AWS secret", "AWS secret in a mapping",
        "password with blanks", "key with blanks in JSON in JSON", "apostrophe", "too long", "escaped quotes", "AWS session token",
        "password in an address", "token in an address", "signed S3 address", "signed Azure address", "token in a query", "GitHub token",
        "variable", "basic", "basic in JSON", "header of its own name", "no scheme", "variable in JSON", "variable in YAML",
        "variable in JSON in JSON", "hub token in JSON", "password in JSON in JSON", "option", "option with its value", "connection string",
        "slash in a password", "at in a password", "private key",
    ],
)  # fmt: skip
def test_tokens_are_replaced_and_nothing_else(text: str, redacted: str) -> None:
    assert redact(text) == redacted
    assert redact(redacted) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "step 1/4000  loss 5.5418  gradient norm 0.254  learning rate 8.26e-05  tokens/s     2527",
        "pad_token=<|endoftext|>, eos_token: '<|im_end|>', max_new_tokens=128",
        "signature: nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.5.1",
        "model.tokenSecret: {name: hub-login, key: token}",
        "secret hub-login has no key token",
        "KeyError: 'input_ids'; key: value",
        "token: 5, 'token': 'internationalization', PAD_TOKEN: endoftext, --eos-token im_end_mark, --pad-token <|endoftext|>",
        "the --token argument is deprecated, pass --token or set HF_TOKEN",
        "authorization: required, Authorization header; RBAC authorization mode: Webhook",
        "http://ray-head:8265/api/jobs/a@b, docker://registry.example:5000/x/y@sha256:00, http://[::1]:8080/x@y",
        "pvc://models/support-bot-1f2e/logs/attempt-1, s3://bucket/a:b@c, ssh://git@host/x",
        "weights sha256:382c95c1a531b595b3c583050f9196e0c472061476b673875f33d35537370e0c",
    ],
)
def test_words_about_tokens_and_keys_stay(text: str) -> None:
    assert redact(text) == text


def test_values_of_secret_variables_are_replaced_wherever_they_stand() -> None:
    environment = {
        "MIRROR_PASSWORD": "korrekt-pferd",
        "REGISTRY_KEY": "korrekt-pferd-batterie",
        "RAY_AUTH_MODE": "token",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
        "TOKENIZERS_PARALLELISM": "disabled",
        "SHORT_TOKEN": "token",
        "SERVICE_CREDENTIALS": "first-line\nsecond-line\n",
    }
    values = secret_values(environment)
    assert values == ("korrekt-pferd-batterie", "korrekt-pferd", "second-line", "first-line")
    said = "401 for korrekt-pferd-batterie, then korrekt-pferd; a token from /var/run/token is disabled; second-line"
    assert redact(said, values) == "401 for [redacted], then [redacted]; a token from /var/run/token is disabled; [redacted]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("\x1b[36m(worker)\x1b[0m step 1", "(worker) step 1"), ("[36m(worker)[0m", "(worker)"), ("list[0] of [1;2]", "list[0] of [1;2]")],
    ids=["whole codes", "codes without their escape character", "brackets that are none"],
)
def test_color_codes_are_taken_out_and_nothing_else(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m\n\tnext", "red\n\tnext"),
        ("\x1b]0;title\x07 \x1b[2J", " ]0;title   [2J"),
        ("a\u202eb\x9b1A\x00\r", "a b 1A  "),
        ("<script>alert(1)</script> Größe 漢字", "<script>alert(1)</script> Größe 漢字"),
    ],
    ids=["colors", "title and clear", "order of writing, C1, return", "harmless in a terminal"],
)
def test_what_a_terminal_obeys_is_taken_out_and_nothing_else(text: str, expected: str) -> None:
    assert printable(text) == expected


LONG = 60_000


@pytest.mark.parametrize(
    "part",
    [
        "eyJ-", "eyJa.", "eyJa.eyJ-", "bearer ", "bearer\t\t", "-----BEGIN ", "-----BEGIN PRIVATE KEY", "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY----------END A ", "hf_", "sk-", "glpat-", "://", "://a:", "://a:/", "://a:b/c", "://a:b@", "://a@b", "?",
        "?a-", "&token", "password", "password ", "password=", "password:\\", 'password:"', 'password:"a ', "api-key",
        "secret-", "authorization", "authorization: ",
        "-authorization:basic ", "A", "A_", "A_KEY", "A_KEY ", "-", "--a-", "--token ", "--token-", "--token=", " --", "\\", "=", "a", " ",
    ],
)  # fmt: skip
@pytest.mark.parametrize("start", ["", "https://a:"])
def test_no_text_takes_long(start: str, part: str) -> None:
    text = start + part * (LONG // len(part)) + "!"
    began = time.process_time()
    redact(text)
    assert time.process_time() - began < 1.0
