"""Demands: their text, their versions, their life from draft to archive.

Owns campaigns, statement versions, the offices they address, closings in progress and
the source of replayed series. Does not own signatures or counts. Invariants: a
statement's bytes never change after it has opened; a version has its own log and keys.
"""
