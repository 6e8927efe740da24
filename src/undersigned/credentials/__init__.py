"""Anonymous signing credentials: issuer keys, blind signing, the issuance file.

Owns the issuer keys and version keys (in the keystore), and one issuance file per
statement version. Does not know addresses, codes or people: it sees nullifiers, which
are keyed hashes, and blinded messages. Alone in the product it holds issuer secrets.

Invariants: one token a nullifier and key; an answer leaves after the commit that
spends the ticket; the issuance file keeps neither time nor order (PROTOCOL §5).
"""
