"""The one kind of error this command line raises on purpose."""


class Explained(Exception):
    """Something a user can mend or should know: the text says it, and no stack trace is shown."""
