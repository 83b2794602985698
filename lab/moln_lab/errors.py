"""The one error of the lab's border: what failed, and what the reader can do or look at."""


class LabError(Exception):
    """A step of the lab failed; the message is written for the person who runs it."""
