"""The table of offices."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from undersigned.kernel.ids import make_random_id


class Office(models.Model):
    """A public office, known by name within its jurisdiction."""

    id = models.CharField(primary_key=True, max_length=20, default=make_random_id)
    name = models.CharField(max_length=200)
    jurisdiction = models.CharField(max_length=200, blank=True)
    url = models.URLField(blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=("name", "jurisdiction"), name="office_name_in_jurisdiction"
            )
        ]
