"""Django's hook for the package."""

from __future__ import annotations

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """The hash-chained trail."""

    name = "undersigned.audit"
    label = "audit"
    default_auto_field = "django.db.models.BigAutoField"
