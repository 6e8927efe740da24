"""The environment of every test run, set before Django reads it.

``UNDERSIGNED_TEST_DATABASE=postgresql`` runs what goes through Django's tables, and
only that, on a throw-away PostgreSQL: one server a run, one database a worker.

Django is set up here and not by a line in pyproject.toml: from there pytest-django
would load the settings before any conftest, and so with the data directory and the
mail server of whoever runs the tests. Fixtures are in tests/conftest.py.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import django
import pytest

from undersigned.drills.postgres import Cluster, NoPostgres, Server
from undersigned.ledger.pg.schema import make_schema
from undersigned.ledger.pg.session import Session

_TEST_DATABASE = "UNDERSIGNED_TEST_DATABASE"
_TEST_LEDGER = "UNDERSIGNED_TEST_LEDGER"

for name in [name for name in os.environ if name.startswith("UNDERSIGNED_")]:
    if name not in ("UNDERSIGNED_CI", _TEST_DATABASE, _TEST_LEDGER):
        del os.environ[name]


def _make_ledgers(server: Server) -> str:
    """Let the role ``ledger`` make a database for each ledger, from one with tables.

    Returns the URL of a database from where it does.
    """
    server.make_database("ledgers", owner="ledger", options="CREATEDB")
    server.run_sql("GRANT pg_checkpoint TO ledger")
    template = server.make_database("ledger_template", owner="ledger")
    server.run_sql(
        "GRANT EXECUTE ON FUNCTION pg_switch_wal() TO ledger",
        database="ledger_template",
    )
    session = Session(template)
    make_schema(session.connection, intake="intake")
    session.close()
    server.run_sql("ALTER DATABASE ledger_template ALLOW_CONNECTIONS false")
    return server.url("ledgers", user="ledger", through_socket=True)


# What is wanted: empty for SQLite, else PostgreSQL, by its URL where a server runs.
_wanted = os.environ.get(_TEST_DATABASE, "")
_missing: str | None = None
if _wanted == "postgresql":
    try:
        _cluster = Cluster(durable=False)
    except NoPostgres as error:
        _missing = str(error)
        if os.environ.get("UNDERSIGNED_CI") == "1":
            raise pytest.UsageError(_missing) from error
    else:
        atexit.register(_cluster.close)
        # Its workers would hold databases that a test wants to drop.
        _settings = {"wal_recycle": "off", "autovacuum": "off"}
        _primary = _cluster.start_primary(settings=_settings)
        _primary.make_database("pages", owner="pages", options="CREATEDB")
        # Workers inherit it, and use the same server.
        _wanted = _primary.url("pages", user="pages", through_socket=True)
        os.environ[_TEST_DATABASE] = _wanted
        os.environ[_TEST_LEDGER] = _make_ledgers(_primary)
_on_postgresql = _wanted.startswith("postgresql")
if _wanted.startswith("postgresql:"):
    os.environ["UNDERSIGNED_DATABASE_URL"] = _wanted
elif _wanted not in ("", "sqlite") and _missing is None:
    raise pytest.UsageError(f"{_TEST_DATABASE} is sqlite or postgresql")

# One a process: workers of a parallel run do not meet.
_data = tempfile.mkdtemp(prefix="undersigned-tests-")
atexit.register(shutil.rmtree, _data, ignore_errors=True)

os.environ["DJANGO_SETTINGS_MODULE"] = "undersigned.config.settings"
os.environ["UNDERSIGNED_DATA"] = _data
os.environ["UNDERSIGNED_MODE"] = "development"
django.setup()

from undersigned.web.shared.locale import compile_catalogs  # noqa: E402 - after setup

# Catalogues are compiled where they lie, and not tracked.
compile_catalogs()


# Fixtures of what is kept in databases: the pages, and ledgers without pages.
_OF_DATABASES = {"db", "transactional_db", "make_river"}


def _belongs(item: pytest.Item) -> bool:
    """Say whether a test is about the database of this run."""
    if not _on_postgresql:
        return item.get_closest_marker("postgresql") is None
    if item.get_closest_marker("sqlite_file") is not None:
        return False
    names = getattr(item, "fixturenames", ())
    marked = item.get_closest_marker("django_db") is not None
    return marked or not _OF_DATABASES.isdisjoint(names)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """For PostgreSQL keep what touches the database; skip it where there is none."""
    others = [item for item in items if not _belongs(item)]
    items[:] = [item for item in items if _belongs(item)]
    config.hook.pytest_deselected(items=others)
    if _missing is not None:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=_missing))
