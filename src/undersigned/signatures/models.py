"""The shown records: beside the log, never in it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class ShownRecord(models.Model):
    """What one signer chose to show, with the salt that ties it to the leaf.

    Erasing the row leaves the leaf's hash, which without salt and text says nothing.
    Rows arrive a publication at a time, sorted by nonce.
    """

    nonce = models.BinaryField(primary_key=True, max_length=32)
    origin = models.CharField(max_length=300)
    leaf_index = models.PositiveBigIntegerField()
    stance = models.PositiveSmallIntegerField()
    salt = models.BinaryField(max_length=32)
    name = models.CharField(max_length=80, blank=True)
    place = models.CharField(max_length=60, blank=True)
    comment = models.CharField(max_length=500, blank=True)
    # A comment is read by a person before it is shown to everybody.
    comment_released = models.BooleanField(default=False)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=("origin", "nonce"), name="shown_by_origin")
        ]
