import os
import time

import pytest

from bench.controller.usage import usage


def test_processor_time_and_memory_of_a_process_are_those_that_it_used() -> None:
    before = usage(os.getpid())
    end = time.process_time() + 0.3
    block = bytearray(64 * 2**20)
    while time.process_time() < end:
        block[0] += 1 if block[0] < 255 else -255
    after = usage(os.getpid())
    assert 0.2 <= after.cpu_seconds - before.cpu_seconds < 5
    assert after.resident_bytes - before.resident_bytes > 50 * 2**20
    assert after.peak_bytes >= after.resident_bytes


def test_a_process_that_is_gone_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        usage(2**22 + 1)
