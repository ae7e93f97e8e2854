"""A parameter file as a verb takes it: read whole and checked, or refused with one sentence."""

import json
import math
from pathlib import Path

from cli.context import check_pair, parse_time
from cli.errors import BadInput
from hft_lib.evop.design import check_names
from hft_lib.parameters import ParameterFile, read_parameter_file


def read_parameters(path: Path) -> ParameterFile:
    """The parameter file at `path`; BadInput names what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"parameter file {path}: {error.strerror}: `hft calibrate --out FILE` writes one"
        ) from error
    try:
        _refuse_words(content)
        file = read_parameter_file(content)
        _check(file)
    except (ValueError, RecursionError, BadInput) as error:
        raise BadInput(f"{path}: {error}") from error
    return file


def _refuse_words(content: bytes) -> None:
    """Name the number that JSON does not know; the decoder would only name its byte."""

    def refuse(word: str) -> float:
        raise ValueError(f"parameter file: every number must be finite, was {word}")

    try:
        json.loads(content, parse_constant=refuse)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"parameter file is not JSON: {error}") from error


def _check(file: ParameterFile) -> None:
    check_pair(file.pair)
    check_names(list(file.evop.units))
    for name, unit in file.evop.units.items():
        if not (math.isfinite(unit) and unit > 0.0):
            raise ValueError(f"evop.units.{name} must be positive, was {unit}")
    if not (math.isfinite(file.evop.s0_quote) and file.evop.s0_quote >= 0.0):
        raise ValueError(f"evop.s0_quote must be at least 0, was {file.evop.s0_quote}")
    names = ["champion", *(challenger.name for challenger in file.challengers)]
    twice = next((name for name in names if names.count(name) > 1 or not name), None)
    if twice is not None:
        raise ValueError(f"each challenger must have a name of its own, was {twice!r}")
    window = (parse_time(file.provenance.start or None), parse_time(file.provenance.end or None))
    if window[0] is not None and window[1] is not None and window[0] > window[1]:
        raise ValueError(
            f"provenance.start must not be after provenance.end, was {file.provenance.start}"
        )
