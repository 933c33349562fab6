import pytest

from controller.runtime import errors

NAMED = {"details": {"name": "job", "kind": "finetunejobs"}}


@pytest.mark.parametrize(
    ("status", "answer", "kind", "base"),
    [
        pytest.param(400, {}, errors.Invalid, errors.TerminalError, id="bad request"),
        pytest.param(401, {}, errors.Unauthorized, errors.RetryableError, id="token not accepted"),
        pytest.param(403, {}, errors.Forbidden, errors.WaitingError, id="RBAC or quota"),
        pytest.param(404, NAMED, errors.NotFound, errors.WaitingError, id="object missing"),
        pytest.param(404, None, errors.ResourceAbsent, errors.NotFound, id="path not served, plain text"),
        pytest.param(404, {"details": {}}, errors.ResourceAbsent, errors.NotFound, id="path not served, Status"),
        pytest.param(409, {"reason": "Conflict"}, errors.Conflict, errors.RetryableError, id="changed since"),
        pytest.param(409, {"reason": "AlreadyExists"}, errors.AlreadyExists, errors.TerminalError, id="name taken"),
        pytest.param(410, {"reason": "Expired"}, errors.Gone, errors.RetryableError, id="too old"),
        pytest.param(422, NAMED, errors.Invalid, errors.TerminalError, id="refused by the schema"),
        pytest.param(429, {}, errors.TooManyRequests, errors.RetryableError, id="slow down"),
        pytest.param(500, {}, errors.ServerError, errors.RetryableError, id="server failed"),
        pytest.param(503, None, errors.ServerError, errors.RetryableError, id="server not ready"),
        pytest.param(302, None, errors.ServerError, errors.RetryableError, id="a proxy's redirect"),
    ],
)
def test_an_answer_becomes_the_error_that_says_how_to_go_on(
    status: int, answer: dict[str, object] | None, kind: type[errors.KubeError], base: type[errors.KubeError]
) -> None:
    error = errors.error_from_status(status, answer, "GET /x")

    assert type(error) is kind
    assert isinstance(error, base)
    assert error.status == status


def test_the_message_names_the_request_and_what_the_server_said() -> None:
    error = errors.error_from_status(422, {"message": "spec.workers: must be at least 1"}, "POST /apis/x")

    assert str(error) == "POST /apis/x: spec.workers: must be at least 1"


def test_without_a_status_object_the_message_has_the_http_status() -> None:
    assert str(errors.error_from_status(502, None, "GET /x")) == "GET /x: HTTP 502"


@pytest.mark.parametrize(
    ("answer", "header", "seconds"),
    [
        pytest.param({"details": {"retryAfterSeconds": 3}}, None, 3.0, id="in the answer"),
        pytest.param(None, "7", 7.0, id="in the header"),
        pytest.param(None, "Wed, 21 Oct 2026 07:28:00 GMT", None, id="a date is not understood"),
        pytest.param(None, "inf", None, id="no number to wait for"),
        pytest.param(None, None, None, id="not said"),
    ],
)
def test_the_pause_that_the_server_asks_for_is_known(answer: dict[str, object] | None, header: str | None, seconds: float | None) -> None:
    assert errors.error_from_status(429, answer, "GET /x", header).retry_after_seconds == seconds
