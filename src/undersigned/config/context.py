"""What the command line is given: the environment, the engine and the server."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

from undersigned.cli.context import Context
from undersigned.config.env import Environment


def set_up_django() -> None:
    """Load Django's registry; needs the environment to be readable."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "undersigned.config.settings")
    import django

    django.setup()


def set_up_database(environment: Environment) -> None:
    """Create the pages database, or bring it to this version's tables."""
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    from undersigned.config.database import hold_migration_lock
    from undersigned.kernel.durable import make_private_folder
    from undersigned.web.shared.locale import compile_catalogs

    make_private_folder(environment.data)
    if environment.database is None:
        # SQLite gives its journals the mode of the file they belong to.
        (environment.data / "app.sqlite3").touch(mode=0o600)
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        with hold_migration_lock():
            call_command("migrate", verbosity=0, interactive=False)
    for suffix in ("", "-wal", "-shm"):
        path = environment.data / f"app.sqlite3{suffix}"
        if path.exists():
            path.chmod(0o600)
    compile_catalogs()


def make_context(environment: Environment) -> Context:
    """Load Django and return what commands need."""
    if environment.mode == "demo" and not environment.operator:
        environment = replace(environment, operator="Omar (demonstration)")
    set_up_django()
    set_up_database(environment)
    from undersigned.config.doctor import examine
    from undersigned.config.engine import open_engine
    from undersigned.config.ledger import open_store
    from undersigned.config.server import run_server

    return Context(
        environment=environment,
        open_engine=partial(open_engine, environment),
        open_store=partial(open_store, environment),
        run_server=run_server,
        examine=lambda: examine(environment),
    )
