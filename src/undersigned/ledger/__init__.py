"""The append-only logs of one instance: pool, sequence, publish (PROTOCOL §5).

Owns the ledger (pool and log: ``ledger.sqlite3``, or a database of PostgreSQL's), the
high-water file, the log keys and the static files of PROTOCOL §8. Knows leaves as bytes
and logs by origin; it knows neither campaigns nor people, and never imports a package
that does.

Invariants: one writer thread in one process moves the logs; a checkpoint leaves only
after the commit that made it; everything after a commit is repeated from the database
after a crash and gives the same bytes; no row holds a time or an order of requests.
"""
