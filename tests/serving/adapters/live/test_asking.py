"""What is said of a venue that was asked."""

import pytest

from serving.adapters.live.asking import place


@pytest.mark.parametrize(
    "url", ["https://ada:pass@host.example:8443/api", "https://host.example:8443"]
)
def test_a_place_has_no_password(url: str):
    assert place(url) == "host.example:8443"
