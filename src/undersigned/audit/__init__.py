"""The hash-chained trail of privileged acts.

Owns one table of entries. Does not own what the acts did. Invariants: an entry names
its actor by opaque reference only, and carries the SHA-256 of the entry before it, so
that a removed or changed entry shows.
"""
