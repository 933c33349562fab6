"""The custom resources that the controller knows, and the label on everything that belongs to a job. Constants only."""

from controller.runtime.resources import Resource
from finetune.api.spec import GROUP, KIND, PLURAL, VERSION

FINE_TUNE_JOBS = Resource(GROUP, VERSION, PLURAL, KIND)
RAY_JOBS = Resource("ray.io", "v1", "rayjobs", "RayJob")
RAY_CLUSTERS = Resource("ray.io", "v1", "rayclusters", "RayCluster")
WORKLOADS = Resource("kueue.x-k8s.io", "v1beta2", "workloads", "Workload")
"""What Kueue queues: it makes one for each RayJob with a queue label."""

JOB_LABEL = "finetune.dev/job"
"""On every child, with the name of its FineTuneJob."""

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""On a FineTuneJob and its RayJobs: the LocalQueue that they wait in."""
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
"""The WorkloadPriorityClass that the queue orders by."""
