"""Django's hook for the package."""

from __future__ import annotations

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Accounts."""

    name = "undersigned.accounts"
    label = "accounts"
    default_auto_field = "django.db.models.BigAutoField"
