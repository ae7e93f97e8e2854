"""Base32 of a digest."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.base32 import base32


@given(st.binary(min_size=20, max_size=20))
def test_base32_is_that_of_the_standard_library(digest: bytes) -> None:
    assert base32(digest) == base64.b32encode(digest).decode().lower()


@pytest.mark.parametrize("size", [0, 19, 21])
def test_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"must have 20 bytes, had {size}"):
        base32(bytes(size))
