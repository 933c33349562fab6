"""CPUs and memory as Kubernetes writes them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.job.quantities import cpus, memory_bytes
from finetune.api.spec import CPU_QUANTITY, MEMORY_QUANTITY


@pytest.mark.parametrize(("quantity", "number"), [("4", 4), ("0.5", 0.5), ("500m", 0.5), ("1500m", 1.5)])
def test_cpus_are_counted_in_ones(quantity: str, number: float) -> None:
    assert cpus(quantity) == number


@pytest.mark.parametrize(
    ("quantity", "size"), [("4Gi", 4 * 2**30), ("800M", 800_000_000), ("1.5Gi", 3 * 2**29), ("2T", 2 * 10**12), ("512Mi", 2**29)]
)
def test_memory_is_counted_in_bytes(quantity: str, size: int) -> None:
    assert memory_bytes(quantity) == size


@given(st.from_regex(re.compile(CPU_QUANTITY, re.ASCII), fullmatch=True))
def test_every_cpu_quantity_that_the_schema_admits_is_above_zero(quantity: str) -> None:
    assert cpus(quantity.strip()) > 0


@given(st.from_regex(re.compile(MEMORY_QUANTITY, re.ASCII), fullmatch=True))
def test_every_memory_quantity_that_the_schema_admits_is_read(quantity: str) -> None:
    assert memory_bytes(quantity.strip()) > 0
