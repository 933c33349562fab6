"""Kubernetes quantities of CPU and memory, in the forms that the schema and the settings accept.

Pure. Test: tests/controller/job/test_quantities.py.
"""

MILLI = "m"
UNITS = {"Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "M": 10**6, "G": 10**9, "T": 10**12}


def cpus(quantity: str) -> float:
    """Return the CPUs of a quantity such as 4, 0.5 or 500m."""
    return float(quantity.removesuffix(MILLI)) / 1000 if quantity.endswith(MILLI) else float(quantity)


def memory_bytes(quantity: str) -> int:
    """Return the bytes of a quantity such as 4Gi or 800M."""
    unit = next(unit for unit in UNITS if quantity.endswith(unit))
    return int(float(quantity.removesuffix(unit)) * UNITS[unit])
