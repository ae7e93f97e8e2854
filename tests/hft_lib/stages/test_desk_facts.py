"""What the desk did, as facts."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from hft_lib.stages.desk_facts import base32


@given(st.binary(min_size=20, max_size=20))
def test_base32_is_that_of_the_standard_library(digest: bytes) -> None:
    assert base32(digest) == base64.b32encode(digest).decode().lower()
