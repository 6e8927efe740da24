"""Have PostgreSQL clear away erased rows within minutes, however few they are.

By default a table is cleared once a fifth of it is dead, which for some names that
were erased among many thousands never comes. SQLite overwrites them at once.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations

SETTINGS = ("autovacuum_vacuum_scale_factor", "autovacuum_vacuum_threshold")


def set_to_zero(apps: Any, schema_editor: Any) -> None:
    """Ask for it, where the database is PostgreSQL."""
    if schema_editor.connection.vendor == "postgresql":
        settings = ", ".join(f"{name} = 0" for name in SETTINGS)
        schema_editor.execute(f"ALTER TABLE signatures_shownrecord SET ({settings})")


def reset(apps: Any, schema_editor: Any) -> None:
    """Back to the server's own figures."""
    if schema_editor.connection.vendor == "postgresql":
        names = ", ".join(SETTINGS)
        schema_editor.execute(f"ALTER TABLE signatures_shownrecord RESET ({names})")


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [("signatures", "0001_initial")]

    operations: ClassVar[list[Any]] = [migrations.RunPython(set_to_zero, reset)]
