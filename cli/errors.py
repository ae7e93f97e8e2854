"""The three ways in which a verb can end badly, each with its exit code.

The text is one sentence for the user.
"""

from typing import Any


class Failed(Exception):
    """The verb could not finish: exit 1."""

    exit_code = 1


class BadInput(Failed):
    """What was asked for, or what was read, is wrong: exit 2."""

    exit_code = 2


class Refused(Failed):
    """A rule of the system forbids it: exit 3."""

    exit_code = 3


def told(error: Exception) -> str:
    """What an error says; Kafka's own, which prints its fields, is asked for its sentence."""
    cause: Any = error.args[0] if error.args else None
    return str(cause.str()) if type(cause).__name__ == "KafkaError" else str(error)
