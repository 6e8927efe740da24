"""Signatures on their way from web nodes to the pool, over a stream that keeps them.

Owns the frames, what they are sealed with, and who takes them. Owns no commit: a
signature is durable once ``ledger.pg.inbox`` has pooled it, and nobody is told anything
before that (PROTOCOL §5, docs/adr/0023). What the stream forgets, loses, or gives twice
is therefore nobody's loss and counts once.
"""
