"""The custom resources that the controller knows, and the label on everything that belongs to a job. Constants only."""

from controller.runtime.resources import Resource
from finetune.api.spec import GROUP, KIND, PLURAL, VERSION

FINE_TUNE_JOBS = Resource(GROUP, VERSION, PLURAL, KIND)
RAY_JOBS = Resource("ray.io", "v1", "rayjobs", "RayJob")
RAY_CLUSTERS = Resource("ray.io", "v1", "rayclusters", "RayCluster")

JOB_LABEL = "finetune.dev/job"
"""On every child, with the name of its FineTuneJob."""
