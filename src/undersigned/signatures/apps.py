"""Django's hook for the package."""

from __future__ import annotations

from django.apps import AppConfig


class SignaturesConfig(AppConfig):
    """Signatures."""

    name = "undersigned.signatures"
    label = "signatures"
    default_auto_field = "django.db.models.BigAutoField"
