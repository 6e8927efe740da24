"""Django's hook for the package."""

from __future__ import annotations

from django.apps import AppConfig


class AuthoritiesConfig(AppConfig):
    """Authorities."""

    name = "undersigned.authorities"
    label = "authorities"
    default_auto_field = "django.db.models.BigAutoField"
