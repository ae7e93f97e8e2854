"""What the environment says, read once: every variable, its default, the rule its value keeps.

The environment wins over a `.env` file in the current folder. Names are upper case. An unset
optional variable and an empty one are the same; a variable that always has a value (such as
EXCHANGE) is never empty. Whatever breaks a rule ends the start with one sentence that names the
rule and the value, and never a secret.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from serving.runtime import addresses

OWN_PREFIXES = ("HFT_", "EVOP_", "BINANCE_", "CHAMPION_")
# What compose.yaml reads of the same `.env`: the passwords of what it starts beside the services.
STACK_PREFIX = "STACK_"
# A share beyond this is a slip of the keyboard, and sums of its squares would lose the cents.
CAPITAL_MAX_QUOTE = 1e12
# Each challenger is a row of every state array and a shadow account, stepped at each grid point.
CHALLENGERS_MAX = 32

# 32 hexadecimal digits are 128 bits; of so many, drawn at random, 8 and more are different.
TOKEN_LENGTH_MIN, TOKEN_LETTERS_MIN = 32, 8

_SYMBOL = re.compile(r"[A-Z0-9]+/[A-Z0-9]+(:[A-Z0-9]+)?")


class SettingsError(ValueError):
    """A variable breaks a rule; the message is one sentence with the rule and the value."""


def _rule(variable: str, rule: str, value: object) -> ValueError:
    return ValueError(f"{variable} {rule}, was {value!r}")


def _log_level(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _home(value: Path) -> Path:
    # Absolute from here on: a later change of folder does not move the journal.
    home = value.expanduser().absolute()
    if home.exists() and not home.is_dir():
        raise _rule("HFT_HOME", "must be a folder", str(value))
    return home


def _pairs(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",")) if value.strip() else ()


def _checked_pairs(pairs: tuple[str, ...]) -> tuple[str, ...]:
    for pair in pairs:
        legs = pair.split("~")
        if len(legs) != 2 or not all(_SYMBOL.fullmatch(leg) for leg in legs):
            raise _rule("PAIRS", "must be Y~X, each leg BASE/QUOTE or BASE/QUOTE:SETTLE", pair)
        if legs[0] == legs[1]:
            raise _rule("PAIRS", "must name two different legs", pair)
    if len(set(pairs)) != len(pairs):
        raise _rule("PAIRS", "must name each pair once", ",".join(pairs))
    return pairs


def _key(value: SecretStr | None) -> SecretStr | None:
    if value is not None and re.search(r"\s", value.get_secret_value()):
        raise ValueError("a Binance key must hold no white space (its value is not shown)")
    return value


def _token(value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    """Refuse a token that can be guessed; the sentence shows nothing of it."""
    if value is None:
        return value
    token = value.get_secret_value()
    repeats = token in (token + token)[1:-1]
    plain = token.isascii() and token.isprintable() and " " not in token
    if not plain or len(token) < TOKEN_LENGTH_MIN or len(set(token)) < TOKEN_LETTERS_MIN or repeats:
        raise ValueError(
            f"{(info.field_name or '').upper()} must be at least {TOKEN_LENGTH_MIN} ASCII "
            f"characters without spaces, at least {TOKEN_LETTERS_MIN} of them different and none "
            "of it a repetition, such as `openssl rand -hex 24` makes (its value is not shown)"
        )
    return value


Pairs = Annotated[tuple[str, ...], BeforeValidator(_pairs), AfterValidator(_checked_pairs)]
Key = Annotated[SecretStr | None, AfterValidator(_key)]
Token = Annotated[SecretStr | None, AfterValidator(_token)]
RestUrl = Annotated[str | None, AfterValidator(addresses.http)]
SocketUrl = Annotated[str | None, AfterValidator(addresses.websocket)]
KafkaServers = Annotated[str | None, AfterValidator(addresses.kafka)]
RedisUrl = Annotated[str | None, AfterValidator(addresses.redis)]
DatabaseUrl = Annotated[str | None, AfterValidator(addresses.database)]
TrackingUri = Annotated[str, AfterValidator(addresses.mlflow)]


class Settings(BaseSettings):
    """One start's settings, immutable; `printable()` and `repr` mask the secrets.

    `hft_home` is absolute. `pairs` holds `Y~X` in unified symbols. Made by `load_settings`; the
    constructor alone reads no environment and gives the defaults.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True)

    environment: Literal["development", "staging", "production"] = "development"
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_log_level)
    ] = "INFO"
    exchange: Literal["simulated", "paper", "binance"] = "simulated"
    binance_testnet: bool = True
    binance_api_key: Key = None
    binance_api_secret: Key = None
    binance_rest_url: RestUrl = None
    binance_ws_url: SocketUrl = None
    binance_data_url: RestUrl = None
    kraken_rest_url: RestUrl = None
    kraken_ws_url: SocketUrl = None
    kafka_bootstrap_servers: KafkaServers = None
    redis_url: RedisUrl = None
    database_url: DatabaseUrl = None
    hft_home: Annotated[Path, AfterValidator(_home)] = Path("runs")
    hft_viewer_token: Token = None
    hft_operator_token: Token = None
    mlflow_tracking_uri: TrackingUri = Field(
        default_factory=lambda known: f"sqlite:///{known['hft_home'] / 'mlflow.db'}"
    )
    evop_max_challengers: Annotated[int, Field(ge=1, le=CHALLENGERS_MAX)] = 4
    champion_initial_capital: Annotated[
        float, Field(gt=0.0, le=CAPITAL_MAX_QUOTE, allow_inf_nan=False)
    ] = 10000.0
    pairs: Pairs = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load_settings` read: pydantic's own sources let unknown variables pass."""
        return (init_settings,)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.binance_api_key is None) != (self.binance_api_secret is None):
            raise ValueError(
                "BINANCE_API_KEY and BINANCE_API_SECRET must be set together, one was unset"
            )
        if self.exchange == "binance":
            self._may_trade()
        viewer, operator = self.hft_viewer_token, self.hft_operator_token
        if viewer is not None and viewer == operator:
            raise ValueError(
                "HFT_VIEWER_TOKEN and HFT_OPERATOR_TOKEN must differ, both were the same"
            )
        return self

    def _may_trade(self) -> None:
        """Refuse an account that would trade somewhere its owner did not plainly say."""
        if self.binance_api_key is None:
            raise ValueError(
                "EXCHANGE=binance needs BINANCE_API_KEY and BINANCE_API_SECRET, both were unset"
            )
        production = self.environment == "production"
        if production and "binance_testnet" not in self.model_fields_set:
            raise ValueError(
                "ENVIRONMENT=production with EXCHANGE=binance must say BINANCE_TESTNET=true or"
                " false, it was unset"
            )
        if not self.binance_testnet and not production and self.binance_rest_url is None:
            raise ValueError(
                "BINANCE_TESTNET=false trades real money and needs ENVIRONMENT=production,"
                f" was {self.environment!r}"
            )
        if production:
            for name in ("binance_rest_url", "binance_ws_url"):
                addresses.encrypted_or_local(name.upper(), getattr(self, name))

    def printable(self) -> dict[str, str]:
        """Each variable and its value in words: secrets masked, unset as an empty one."""
        return {name.upper(): _shown(getattr(self, name)) for name in type(self).model_fields}

    def secrets(self) -> frozenset[str]:
        """Every secret that is set, a password within an address too."""
        values = [getattr(self, name) for name in type(self).model_fields]
        keys = {one.get_secret_value() for one in values if isinstance(one, SecretStr)}
        texts = [one for one in values if isinstance(one, str)]
        return frozenset(keys.union(*(addresses.secrets_in(text) for text in texts)))

    def __repr_args__(self) -> Iterator[tuple[str, str]]:
        """Show what `printable` shows: an address may hold a password."""
        yield from self.printable().items()


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return addresses.MASK
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(value)
        case str():
            return addresses.masked(value)
        case _:
            return str(value)


VARIABLES = tuple(name.upper() for name in Settings.model_fields)
SECRETS = frozenset(
    ("BINANCE_API_KEY", "BINANCE_API_SECRET", "HFT_VIEWER_TOKEN", "HFT_OPERATOR_TOKEN")
)
OPTIONAL = frozenset(
    name.upper()
    for name, field in Settings.model_fields.items()
    if field.default in (None, ()) or field.default_factory is not None
)


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Settings:
    """Read the environment over `.env`, and refuse what no rule allows.

    `environ` stands for the process's environment, `dotenv` for the `.env` of the current folder
    (which may be absent; one that is named may not). Raises `SettingsError`.
    """
    values = {**_dotenv(dotenv), **_known(os.environ if environ is None else environ)}
    for name, value in values.items():
        if not value.strip() and name not in OPTIONAL:
            raise SettingsError(f"{name} must not be empty, was {value!r}")
    chosen = {name.lower(): value for name, value in values.items() if value.strip()}
    try:
        return Settings.model_validate(chosen)
    except ValidationError as error:
        sentence = _sentence(error)
    # Outside the handler: pydantic's own error, which holds the values, is not carried along.
    raise SettingsError(sentence)


def _known(environ: Mapping[str, str]) -> dict[str, str]:
    for name in sorted(environ):
        if name.startswith(OWN_PREFIXES) and name not in VARIABLES:
            raise SettingsError(_unknown(name, "the environment"))
    return {name: environ[name] for name in VARIABLES if name in environ}


def _unknown(name: str, where: str) -> str:
    close = difflib.get_close_matches(name, VARIABLES, n=1)
    hint = f"did you mean {close[0]}" if close else f"the known ones are {', '.join(VARIABLES)}"
    return f"{where} must hold only known variables, had {name!r}: {hint}"


def _dotenv(path: Path | None) -> dict[str, str]:
    file = path or Path(".env")
    if path is None and not file.is_file():
        return {}
    try:
        with file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} must be a readable UTF-8 text file, {error}") from None
    values: dict[str, str] = {}
    for binding in bindings:
        if binding.error or (binding.key is not None and binding.value is None):
            # The line itself may hold a secret: its number is enough.
            raise SettingsError(
                f"{file} must hold NAME=value lines, line {binding.original.line} was none"
            )
        if binding.key is None or binding.key.startswith(STACK_PREFIX):
            continue
        if binding.key not in VARIABLES:
            raise SettingsError(_unknown(binding.key, str(file)))
        if binding.key in values:
            raise SettingsError(f"{file} must name a variable once, had {binding.key} twice")
        values[binding.key] = binding.value or ""
    return values


def _sentence(error: ValidationError) -> str:
    """Turn pydantic's first complaint into the house's sentence: rule and value."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    name = str(first["loc"][0]).upper()
    rule = first["msg"].removeprefix("Input ").replace("should", "must")
    if name in SECRETS:
        return f"{name} {rule} (its value is not shown)"
    return f"{name} {rule}, was {addresses.masked(str(first['input']))!r}"
