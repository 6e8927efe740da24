"""The trail's table."""

from __future__ import annotations

from django.db import models


class AuditEntry(models.Model):
    """One privileged act, a past-tense fact such as ``CampaignOpened``."""

    # Assigned by the operation, without gaps: the chain is checked by it.
    number = models.PositiveBigIntegerField(primary_key=True)
    # To the minute: the trail is about who did what, not about anyone's seconds.
    at = models.DateTimeField()
    actor_ref = models.CharField(max_length=80)
    kind = models.CharField(max_length=80)
    data = models.JSONField(default=dict)
    previous_sha256 = models.CharField(max_length=64)
    sha256 = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering = ("number",)
