"""Offices that demands are addressed to.

Owns offices. Posts, their holders and deadlines join them later (Popolo). Invariant:
an office is a public body, never a private person.
"""
