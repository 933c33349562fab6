"""Which earlier jobs a FineTuneJob names to start from, as it is stored: for the index of jobs, and to find those that wait in a circle.

Pure. Test: tests/controller/test_stores.py.
"""

from controller.runtime.resources import KubeObject


def names_of_earlier(job: KubeObject) -> list[str]:
    """Return the names, whatever else is in the job."""
    spec = job.get("spec") or {}
    model, continued = (spec.get("model") or {}).get("fineTuneJob") or {}, spec.get("continueFrom") or {}
    return [name for name in (model.get("name"), continued.get("fineTuneJob")) if isinstance(name, str)]
