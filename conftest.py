"""The environment of every test run, set before Django reads it.

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

for name in [name for name in os.environ if name.startswith("UNDERSIGNED_")]:
    if name != "UNDERSIGNED_CI":
        del os.environ[name]

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
