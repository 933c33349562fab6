"""The real control plane for all tests of this folder."""

from tests.cluster.fixtures import control_plane

__all__ = ["control_plane"]
