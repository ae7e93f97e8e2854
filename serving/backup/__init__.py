"""Back-up and restore of a line: its log, its words, its databases, its files."""


class BackupError(Exception):
    """Something cannot be backed up or restored; the message is one sentence."""
