"""The ledger: what a line said for the record, as rows of an SQL database.

It is a projection of the log and holds nothing of its own: it can be thrown away and rebuilt from
the log to the same rows. `docs/ledger.md` has the tables and the guarantees.
"""
