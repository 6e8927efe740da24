"""The ASGI application over one engine: the signing path in front, Django behind."""

from __future__ import annotations

from pathlib import Path

from a2wsgi import WSGIMiddleware
from django.core.wsgi import get_wsgi_application

from undersigned.config.engine import Engine
from undersigned.web.hot.app import HotApp
from undersigned.web.hot.files import Files

# Pages are read by two threads; signing never waits for them.
PAGE_THREADS = 2
STATIC = Path(__file__).resolve().parent.parent / "web" / "static"


def make_app(engine: Engine) -> HotApp:
    """Return the application; its scope carries the engine's services to Django."""
    return HotApp(
        services=engine.services,
        files=Files(public=engine.environment.public, static=[STATIC]),
        behind=WSGIMiddleware(get_wsgi_application(), workers=PAGE_THREADS),
    )
