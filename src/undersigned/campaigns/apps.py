"""Django's hook for the package."""

from __future__ import annotations

from django.apps import AppConfig


class CampaignsConfig(AppConfig):
    """Campaigns."""

    name = "undersigned.campaigns"
    label = "campaigns"
    default_auto_field = "django.db.models.BigAutoField"
