"""The tables as they were first."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "assignments",
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("pair", sa.Text(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("effective_ns", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("parameters_sha256", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("copy_from", sa.Integer(), nullable=False),
        sa.Column("slots_version", sa.Integer(), nullable=False),
        sa.Column("warmup_s", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("line", "pair", "slot", "generation", name="pk_assignments"),
    )
    op.create_table(
        "blocks",
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("pair", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("capital_slot", sa.Integer(), nullable=False),
        sa.Column("slots_version", sa.Integer(), nullable=False),
        sa.Column("equity_change_quote", sa.Double(), nullable=True),
        sa.Column("equity_quote", sa.Double(), nullable=True),
        sa.Column("fees_quote", sa.Double(), nullable=True),
        sa.Column("slippage_quote", sa.Double(), nullable=True),
        sa.Column("funding_quote", sa.Double(), nullable=True),
        sa.Column("borrow_quote", sa.Double(), nullable=True),
        sa.Column("turnover_quote", sa.Double(), nullable=True),
        sa.Column("drawdown_quote", sa.Double(), nullable=True),
        sa.Column("volatility_mean", sa.Double(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.Column("alarm", sa.Boolean(), nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("line", "pair", "account", "day", name="pk_blocks"),
    )
    op.create_table(
        "decisions",
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("pair", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("line", "pair", "decision_id", name="pk_decisions"),
    )
    op.create_table(
        "fills",
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("pair", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("leg", sa.Text(), nullable=False),
        sa.Column("trade_id", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Double(), nullable=True),
        sa.Column("price", sa.Double(), nullable=True),
        sa.Column("fee_quote", sa.Double(), nullable=True),
        sa.Column("slippage_quote", sa.Double(), nullable=True),
        sa.Column("liquidity", sa.Text(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("line", "pair", "account", "leg", "trade_id", name="pk_fills"),
    )
    op.create_index(
        "ix_fills_line_client_order_id", "fills", ["line", "client_order_id"], unique=False
    )
    op.create_index("ix_fills_line_day", "fills", ["line", "day"], unique=False)
    op.create_table(
        "lines",
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("read", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("mark", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("line", name="pk_lines"),
    )
    op.create_table(
        "moves",
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("pair", sa.Text(), nullable=False),
        sa.Column("slots_version", sa.Integer(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("effective_ns", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("line", "pair", "slots_version", name="pk_moves"),
    )
    op.create_table(
        "orders",
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("pair", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("leg", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Double(), nullable=True),
        sa.Column("price", sa.Double(), nullable=True),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("parameters_sha256", sa.Text(), nullable=False),
        sa.Column("expires_ns", sa.BigInteger(), nullable=False),
        sa.Column("z", sa.Double(), nullable=True),
        sa.Column("intercept", sa.Double(), nullable=True),
        sa.Column("hedge_ratio", sa.Double(), nullable=True),
        sa.Column("spread_sd", sa.Double(), nullable=True),
        sa.Column("y_mid", sa.Double(), nullable=True),
        sa.Column("x_mid", sa.Double(), nullable=True),
        sa.Column("run_length", sa.Double(), nullable=True),
        sa.Column("limits_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("line", "client_order_id", name="pk_orders"),
    )
    op.create_index("ix_orders_line_day", "orders", ["line", "day"], unique=False)
    op.create_table(
        "pairs",
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("pair", sa.Text(), nullable=False),
        sa.Column("first_ns", sa.BigInteger(), nullable=False),
        sa.Column("closed_ns", sa.BigInteger(), nullable=False),
        sa.Column("marked_ns", sa.BigInteger(), nullable=False),
        sa.Column("capital_slot", sa.Integer(), nullable=False),
        sa.Column("y_mid", sa.Double(), nullable=True),
        sa.Column("x_mid", sa.Double(), nullable=True),
        sa.Column("drawdown_max_quote", sa.Double(), nullable=True),
        sa.Column("equities_quote", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("line", "pair", name="pk_pairs"),
    )
    op.create_table(
        "positions",
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("pair", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("leg", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("quantity", sa.Double(), nullable=True),
        sa.Column("entry_price", sa.Double(), nullable=True),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("fills", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("line", "pair", "account", "leg", name="pk_positions"),
    )
    op.create_table(
        "rejections",
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("line", "day", "stage", "reason", "subject", name="pk_rejections"),
    )


def downgrade() -> None:
    """Throw the ledger away: the log makes it again."""
    op.drop_table("rejections")
    op.drop_table("positions")
    op.drop_table("pairs")
    op.drop_table("orders")
    op.drop_table("moves")
    op.drop_table("lines")
    op.drop_table("fills")
    op.drop_table("decisions")
    op.drop_table("blocks")
    op.drop_table("assignments")
