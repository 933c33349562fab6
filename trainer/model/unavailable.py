"""HubUnavailable: the one failure of a model's location that may pass by itself, kept apart from what the user got wrong."""


class HubUnavailable(Exception):  # noqa: N818  (a state of the hub, not of the program)
    """The hub is silent, refuses connections or fails; another attempt may succeed, so the run exits with code 1, not 2."""
