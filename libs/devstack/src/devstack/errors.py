"""The one error this library raises on purpose."""


class DevstackError(Exception):
    """A server could not be set up, started or stopped; the text says why in words meant for a person."""
