"""How the tables came to be, in steps; Alembic runs them at a start."""
