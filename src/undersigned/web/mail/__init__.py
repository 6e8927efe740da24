"""Texts of the mails, rendered from what eligibility hands over.

No subject, sender or body names a demand or a campaign: the mail itself is evidence.
"""
