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


@pytest.mark.parametrize(
    ("name", "attempt"),
    [
        ("bot-1", 1),
        ("bot-120", 120),
        ("bot-0", None),
        ("bot-01", None),
        ("bot-", None),
        ("bot", None),
        ("bot-1-2", None),
        ("bot-x", None),
        ("robot-1", None),
        ("bot-\u0661", None),
        ("bot-1\n", None),
    ],
)
def test_an_attempts_number_is_read_from_the_name_of_its_ray_job(name: str, attempt: int | None) -> None:
    assert names.attempt_of_ray_job(name, "bot") == attempt


@pytest.mark.parametrize(
    ("name", "attempt"),
    [
        ("b.t-2-progress-0123abcd", 2),
        ("b.t-2-progress-0123abce", None),
        ("b.t-progress-0123abcd", None),
        ("b.t--progress-0123abcd", None),
        ("bot-2-progress-0123abcd", None),
        ("b.t-2", None),
    ],
)
def test_an_attempts_number_is_read_from_the_name_of_what_it_reports_to(name: str, attempt: int | None) -> None:
    assert names.attempt_of_progress(name, "b.t", "0123abcd-5678") == attempt
    if attempt is not None:
        assert names.progress_name("b.t", "0123abcd-5678", attempt) == name
