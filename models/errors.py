"""The error that this package raises."""


class BuildError(Exception):
    """A model could not be built. The message is one line: what was found, what was expected, what to do."""
