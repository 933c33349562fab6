"""The trainer: fine-tunes one model as one Ray job and reports what it achieves. Knows nothing of Kubernetes objects."""
