"""Signing, withdrawing, removing, closing, and the count with its proof.

Owns the shown records (what signers chose to show, erasable) and everything that
turns requests into leaves. Does not own keys, pools or logs. It never reaches
``accounts`` nor ``eligibility``: what is counted cannot see who asked.

Writes these leaves: signature (1), withdrawal (3), close (4), removal (5), public
record (7), approver key (9).
"""
