"""What earlier versions wrote for a field that has another form today: objects on a cluster and records of runs still hold it.

Pure. Job files are not read with it: who writes one learns the words of today. Tests: tests/finetune/api/test_lineage.py,
tests/controller/job/test_parsing.py.
"""

from collections.abc import Mapping
from typing import Any

NEVER, ALWAYS = "never", "always"


def in_words_of_today(spec: Mapping[str, Any], off: str = NEVER) -> Mapping[str, Any]:
    """Return a spec, or what a run recorded of it, with values of earlier forms in the form of today.

    training.gradientCheckpointing was true or false; `off` stands for false.
    """
    training = spec.get("training")
    value = training.get("gradientCheckpointing") if isinstance(training, Mapping) else None
    if not isinstance(value, bool):
        return spec
    return {**spec, "training": {**spec["training"], "gradientCheckpointing": ALWAYS if value else off}}
