"""What jobs get where they say nothing of it, as the administrator sets it: for all namespaces, and otherwise for some.

The chart's values under `jobs`. What follows from it for a job is decided in controller.job.defaults. Pure.
Test: tests/controller/test_jobdefaults.py.
"""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from controller.joblimits import blank_is_none
from finetune.api.sources import OBJECT_NAME
from finetune.api.spec import LABEL_KEY, LABEL_VALUE, Toleration

LabelKey = Annotated[str, Field(max_length=317, pattern=LABEL_KEY)]
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]
PriorityClassName = Annotated[str, Field(max_length=253, pattern=OBJECT_NAME)]
QueueName = Annotated[str, Field(max_length=63, pattern=OBJECT_NAME)]
"""It has to fit into a label."""


class JobDefaults(BaseModel):
    """Defaults for the jobs of a namespace; of those of a single namespace, what is left out is as for all.

    Empty values are no default: with them a single namespace has none where all others have one.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid")

    priority_class_name: Annotated[PriorityClassName | None, BeforeValidator(blank_is_none)] = None
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = {}
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    queue_name: Annotated[QueueName | None, BeforeValidator(blank_is_none)] = None

    def but(self, other: "JobDefaults | None") -> "JobDefaults":
        """Return these defaults with what `other` sets."""
        return self if other is None else self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})
