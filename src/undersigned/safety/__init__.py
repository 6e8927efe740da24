"""What stands in front of everything public: clean text, personal data, floods.

Owns the rules for text that may be shown, a first personal-data guard (structured
identifiers), and rate limits. Invariants: limits live in memory only and know no
address (a keyed hash of its network, with a key made at start).
"""
