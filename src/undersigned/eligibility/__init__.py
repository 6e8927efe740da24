"""Who may have a token: addresses and codes in memory only, tickets out.

Owns the mail queue, the mail counter and the attempts counter, all in memory; no
table. Does not own keys, tokens or signatures, and cannot reach them. Invariants: a
raw address is never written anywhere; every answer to an asker is the same whether or
not the address signed; opening a link changes nothing.
"""
