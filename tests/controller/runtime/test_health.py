import aiohttp
import pytest

from controller.runtime.health import HealthServer
from controller.runtime.metrics import Metrics


async def ask(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_probe_fails_with_the_reason_and_passes_when_it_is_gone(path: str) -> None:
    problems = ["rayjobs.ray.io: not listed yet"]
    check = lambda: problems  # noqa: E731
    other = lambda: ()  # noqa: E731
    live, ready = (check, other) if path == "/healthz" else (other, check)

    async with HealthServer("127.0.0.1", 0, live=live, ready=ready, metrics=Metrics("test")) as server:
        assert await ask(server.port, path) == (503, "rayjobs.ray.io: not listed yet\n")
        problems.clear()
        assert await ask(server.port, path) == (200, "ok\n")


async def test_a_remark_is_told_and_does_not_make_the_process_unready() -> None:
    remarks = ["namespace team-c: no right to list and watch pods"]
    async with HealthServer("127.0.0.1", 0, live=tuple, ready=tuple, metrics=Metrics("test"), remarks=lambda: remarks) as server:
        assert await ask(server.port, "/readyz") == (200, f"ok\n{remarks[0]}\n")
        assert await ask(server.port, "/healthz") == (200, "ok\n")


async def test_prometheus_can_read_the_metrics() -> None:
    metrics = Metrics("finetune")
    metrics.queue_adds.inc()
    metrics.follow_queue_depth(lambda: 3)
    metrics.watch_restarts.labels("pods", "ended").inc()

    async with HealthServer("127.0.0.1", 0, live=tuple, ready=tuple, metrics=metrics) as server:
        status, text = await ask(server.port, "/metrics")

    assert status == 200
    assert "finetune_queue_adds_total 1.0" in text
    assert "finetune_queue_depth 3.0" in text
    assert 'finetune_watch_restarts_total{reason="ended",resource="pods"} 1.0' in text
    assert "finetune_leader 0.0" in text


async def test_two_processes_in_one_have_metrics_of_their_own() -> None:
    first, second = Metrics("test"), Metrics("test")
    first.queue_adds.inc()

    assert second.registry.get_sample_value("test_queue_adds_total") == 0
