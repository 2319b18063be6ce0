"""The one error of this package."""


class BuildError(Exception):
    """A model could not be built; the message is one line that says what is wrong or what to do."""
