"""The gate: the only place that approves an order, and the rules by which it refuses one."""
