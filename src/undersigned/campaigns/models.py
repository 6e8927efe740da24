"""Tables of campaigns."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from undersigned.campaigns.data import CampaignState, NoticeCode, PublicationMode


def _choices(
    values: type[CampaignState] | type[PublicationMode],
) -> list[tuple[str, str]]:
    return [(str(value), str(value)) for value in values]


class Campaign(models.Model):
    """One campaign."""

    id = models.CharField(primary_key=True, max_length=40)
    title = models.CharField(max_length=150)
    language = models.CharField(max_length=20)
    state = models.CharField(
        max_length=10, choices=_choices(CampaignState), default=CampaignState.DRAFT
    )
    organiser_name = models.CharField(max_length=120, blank=True)
    organiser_contact = models.CharField(max_length=200, blank=True)
    successor_name = models.CharField(max_length=120, blank=True, default="")
    successor_contact = models.CharField(max_length=200, blank=True, default="")
    # Zero: nothing was agreed.
    succession_days = models.PositiveSmallIntegerField(default=0)
    created_on = models.DateField()
    opened_on = models.DateField(null=True)
    closes_on = models.DateField(null=True)


class StatementVersion(models.Model):
    """One text with its own log and keys. Frozen when the campaign opens."""

    campaign = models.ForeignKey(
        Campaign, on_delete=models.PROTECT, related_name="versions"
    )
    number = models.PositiveSmallIntegerField(default=1)
    origin = models.CharField(max_length=300, unique=True)
    path = models.CharField(max_length=120, unique=True)
    text = models.TextField()
    sha256 = models.CharField(max_length=64)
    mode = models.CharField(max_length=10, choices=_choices(PublicationMode))
    classes = models.JSONField()
    stances = models.JSONField()
    show_names = models.BooleanField()
    k = models.PositiveSmallIntegerField()
    interval_seconds = models.PositiveIntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=("campaign", "number"), name="one_version_of_a_number"
            )
        ]


class AddressedOffice(models.Model):
    """An office the demand is addressed to, in the order the organiser gave."""

    campaign = models.ForeignKey(
        Campaign, on_delete=models.PROTECT, related_name="addressed"
    )
    office = models.ForeignKey("authorities.Office", on_delete=models.PROTECT)
    position = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ("position",)
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=("campaign", "office"), name="an_office_is_addressed_once"
            )
        ]


class Closing(models.Model):
    """A closing under way, with its clock."""

    campaign = models.OneToOneField(
        Campaign, on_delete=models.PROTECT, related_name="closing"
    )
    reason = models.CharField(max_length=80)
    retries_until = models.DateTimeField()
    redeem_until = models.DateTimeField()
    keys_destroyed = models.BooleanField(default=False)


class Notice(models.Model):
    """What the operator tells beside a campaign, by its code."""

    campaign = models.ForeignKey(
        Campaign, on_delete=models.PROTECT, related_name="notices"
    )
    code = models.CharField(
        max_length=30, choices=[(str(code), str(code)) for code in NoticeCode]
    )
    posted_on = models.DateField()

    class Meta:
        ordering = ("posted_on", "id")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=("campaign", "code"), name="a_notice_is_posted_once"
            )
        ]


class ReplaySource(models.Model):
    """Where replayed figures come from, and which spans of them are missing."""

    campaign = models.OneToOneField(
        Campaign, on_delete=models.PROTECT, related_name="replay"
    )
    title = models.CharField(max_length=200)
    url = models.URLField(blank=True)
    licence = models.CharField(max_length=120, blank=True)
    scale = models.PositiveIntegerField(default=1)
    # [[from, to], …] in seconds since 1970.
    holes = models.JSONField(default=list)
    # How many points of the series are done; written after each point.
    points_done = models.PositiveIntegerField(default=0)
    series_sha256 = models.CharField(max_length=64)
