"""Names of children, and KubeRay's own."""

import pytest

from controller.job import names
from finetune.api.attempts import attempt_name
from finetune.api.earlierjobs import NAME_MAX_LENGTH


def test_the_longest_job_name_leaves_room_for_kuberay() -> None:
    assert len(attempt_name("b" * NAME_MAX_LENGTH, 9999)) <= 47


@pytest.mark.parametrize(
    ("path", "folder"), [("", "bot-0123abcd"), ("a/b", "a/b/bot-0123abcd"), ("a/", "a/bot-0123abcd")], ids=["root", "folder", "slash"]
)
def test_each_job_has_a_folder_of_its_own(path: str, folder: str) -> None:
    assert names.output_folder("bot", "0123abcd-5678", path) == folder


@pytest.mark.parametrize(
    ("cluster", "secret"),
    [
        ("bot-1-x7k2p", "bot-1-x7k2p"),
        ("a" * 50, "a" * 50),
        ("b" + "a" * 50, "a" * 50),
        ("bb1" + "a" * 49, "r" + "a" * 49),
        ("bb-" + "a" * 49, "r" + "a" * 49),
    ],
    ids=["short", "just fits", "cut", "cut before a digit", "cut before a dash"],
)
def test_kuberay_cuts_the_name_of_the_token_secret_from_the_left(cluster: str, secret: str) -> None:
    assert names.token_secret(cluster) == secret
