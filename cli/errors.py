"""The three ways in which a verb can end badly, each with its exit code.

The text is one sentence for the user.
"""


class Failed(Exception):
    """The verb could not finish: exit 1."""

    exit_code = 1


class BadInput(Failed):
    """What was asked for, or what was read, is wrong: exit 2."""

    exit_code = 2


class Refused(Failed):
    """A rule of the system forbids it: exit 3."""

    exit_code = 3
