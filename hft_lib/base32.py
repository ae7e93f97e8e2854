"""Base32 of a digest, fast where no cache is warm: execution writes one an order."""

from string import ascii_lowercase

BYTES, LETTERS = 20, 32
_ALPHABET = f"{ascii_lowercase}234567".encode().ljust(256)
# How far the upper halves of the lanes move, and the bits of the lower halves, by the letters in
# half a lane: five bits each, that come to eight.
_HALVES = tuple(
    (3 * n, sum(((1 << 5 * n) - 1) << 16 * n * lane for lane in range(16 // n)))
    for n in (16, 8, 4, 2, 1)
)


def base32(digest: bytes) -> str:
    """20 bytes as `base64.b32encode` writes them, lower case: in less than half its time, without
    its table of 1,024 strings.

    The 160 bits become lanes of half the width, twice as far apart as wide, until the five of each
    letter have a byte of their own. Raises ValueError for another length.
    """
    if len(digest) != BYTES:
        raise ValueError(f"a digest must have {BYTES} bytes, had {len(digest)}")
    bits = int.from_bytes(digest, "big")
    for shift, lower in _HALVES:
        low = bits & lower
        bits = low | (bits ^ low) << shift
    return bits.to_bytes(LETTERS, "big").translate(_ALPHABET).decode()
