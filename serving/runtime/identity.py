"""What a run says of itself: the hash of what it was started with, the commit of its code."""

import hashlib

import msgspec

from hft_lib.lineage.environment import git_commit

__all__ = ["content_sha256", "git_commit"]


def content_sha256(value: object) -> str:
    """Hash of a struct's canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
