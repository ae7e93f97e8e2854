"""The tables, as data; the migrations make them and a test holds both together.

Every key begins with the line, so one database takes the ledgers of many runs. `place` is where the
log says the row: an offset of the topic of records, or a frame of a journal. Money, prices and
quantities are the log's own 64-bit floats, bit for bit: a decimal of some scale would be another
figure than the one in the log. Times are nanoseconds since 1970 UTC; `day` is the UTC day, as days
since 1970, to whose block a row belongs. No column holds a time of writing: equal logs give equal
rows.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

RECORDS = "hft.records"  # the log that the tables are a projection of
METADATA = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"}
)


def _key(name: str, kind: type = Text) -> Column:  # type: ignore[type-arg]
    # A number that is a key is the log's own: nothing is ever counted up by the database.
    return Column(name, kind, primary_key=True, autoincrement=False)


def _some(kind: type, *names: str) -> list[Column]:  # type: ignore[type-arg]
    return [Column(name, kind, nullable=False) for name in names]


def _figures(*names: str) -> list[Column]:  # type: ignore[type-arg]
    """Floats; NULL stands for NaN, which SQLite cannot hold."""
    return [Column(name, Double) for name in names]


# How far the log of a line was read: `read` places are behind us, `mark` is what the source needs
# to go on there. It moves in the transaction that writes the rows.
LINES = Table(
    "lines",
    METADATA,
    _key("line"),
    *_some(Text, "source"),
    *_some(BigInteger, "read", "records", "time_ns"),
    *_some(LargeBinary, "mark"),
)

ORDERS = Table(
    "orders",
    METADATA,
    _key("line"),
    _key("client_order_id"),
    *_some(BigInteger, "place", "time_ns"),
    *_some(Integer, "day"),
    *_some(Text, "pair", "account"),
    *_some(Integer, "slot", "generation"),
    *_some(Text, "leg", "symbol", "side", "type"),
    *_figures("quantity", "price"),
    *_some(Boolean, "reduce_only"),
    *_some(Text, "purpose"),
    *_some(Integer, "attempt"),
    *_some(Text, "parameters_sha256"),
    *_some(BigInteger, "expires_ns"),
    *_figures("z", "intercept", "hedge_ratio", "spread_sd", "y_mid", "x_mid", "run_length"),
    *_some(Integer, "limits_version"),
    Index(None, "line", "day"),
)

# Trade ids are the venue's or the simulation's: unique for an account and a leg, not beyond.
FILLS = Table(
    "fills",
    METADATA,
    _key("line"),
    _key("pair"),
    _key("account"),
    _key("leg"),
    _key("trade_id", BigInteger),
    *_some(BigInteger, "place", "time_ns"),
    *_some(Integer, "day", "slot", "generation"),
    *_some(Text, "side"),
    *_figures("quantity", "price", "fee_quote", "slippage_quote"),
    *_some(Text, "liquidity", "client_order_id"),
    Index(None, "line", "day"),
    Index(None, "line", "client_order_id"),
)

DECISIONS = Table(
    "decisions",
    METADATA,
    _key("line"),
    _key("pair"),
    _key("decision_id"),
    *_some(BigInteger, "place", "time_ns"),
    *_some(Text, "kind", "record"),
)

# Which set a slot ran, and where the capital's pointer went.
ASSIGNMENTS = Table(
    "assignments",
    METADATA,
    _key("line"),
    _key("pair"),
    _key("slot", Integer),
    _key("generation", Integer),
    *_some(BigInteger, "place", "time_ns", "effective_ns"),
    *_some(Text, "role", "parameters_sha256", "model_version", "run_id"),
    *_some(Integer, "copy_from", "slots_version"),
    *_figures("warmup_s"),
)

MOVES = Table(
    "moves",
    METADATA,
    _key("line"),
    _key("pair"),
    _key("slots_version", Integer),
    *_some(BigInteger, "place", "time_ns", "effective_ns"),
    *_some(Text, "kind", "model_version", "decision_id"),
    *_some(Integer, "slot", "generation"),
)

# Balances: one row an account and day, as execution closed it.
BLOCKS = Table(
    "blocks",
    METADATA,
    _key("line"),
    _key("pair"),
    _key("account"),
    _key("day", Integer),
    *_some(BigInteger, "place", "start_ns", "end_ns"),
    *_some(Integer, "slot", "generation", "capital_slot", "slots_version"),
    *_figures(
        "equity_change_quote",
        "equity_quote",
        "fees_quote",
        "slippage_quote",
        "funding_quote",
        "borrow_quote",
        "turnover_quote",
        "drawdown_quote",
        "volatility_mean",
    ),
    *_some(Boolean, "active", "whole", "alarm", "flagged"),
)

REJECTIONS = Table(
    "rejections",
    METADATA,
    _key("line"),
    _key("day", Integer),
    _key("stage"),
    _key("reason"),
    _key("subject"),
    *_some(BigInteger, "count"),
)

# The latest of each pair: its running block, its mids, each slot's equity and last capital's.
PAIRS = Table(
    "pairs",
    METADATA,
    _key("line"),
    _key("pair"),
    *_some(BigInteger, "first_ns", "closed_ns", "marked_ns"),
    *_some(Integer, "capital_slot"),
    *_figures("y_mid", "x_mid", "drawdown_max_quote"),
    *_some(Text, "equities_quote"),
)

# What an account holds, by its fills; a slot's `generation` that ended holds nothing any more.
POSITIONS = Table(
    "positions",
    METADATA,
    _key("line"),
    _key("pair"),
    _key("account"),
    _key("leg"),
    *_some(Integer, "generation"),
    *_figures("quantity", "entry_price"),
    *_some(BigInteger, "time_ns", "fills"),
)

# Rows that are written once, and rows that are the latest of their key.
WRITTEN_ONCE = (ORDERS, FILLS, DECISIONS, ASSIGNMENTS, MOVES, BLOCKS)
KEPT_LATEST = (PAIRS, POSITIONS)
TABLES = (LINES, *WRITTEN_ONCE, REJECTIONS, *KEPT_LATEST)
