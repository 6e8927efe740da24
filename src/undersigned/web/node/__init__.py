"""A web node: takes signatures and serves what is read, and owns nothing.

One of any number of processes in front of the issuer's (docs/adr/0022). It checks each
signature, adds it to the pool in PostgreSQL and asks the issuer's process for the
promise; hands on everything else; and keeps copies in memory of what may be kept, so
that reading goes on while that process is away. It writes no file, knows no key but
public ones, and speaks to the database as ``intake``, which may only add.

Invariants: nobody is told that a signature is taken before its commit; what the node
believes about a log only ever makes it hand a request on, never take what the database
refuses; a copy is never served longer than its own Cache-Control allows.
"""
