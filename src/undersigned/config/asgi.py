"""The ASGI application over one engine: the signing path in front, Django behind."""

from __future__ import annotations

from typing import Any, cast

from a2wsgi import WSGIMiddleware
from django.core.wsgi import get_wsgi_application

from undersigned.config.engine import Engine
from undersigned.config.rendering import STATIC
from undersigned.web.hot.app import HotApp
from undersigned.web.hot.file_cache import FileCache
from undersigned.web.hot.files import Files
from undersigned.web.hot.nodes import NodePath
from undersigned.web.hot.pages import Pages
from undersigned.web.hot.wire import ASGIApp
from undersigned.web.hot.witness import WitnessPath
from undersigned.web.public.waiting import render_wait

# Pages are read by two threads; signing never waits for them.
PAGE_THREADS = 2


def make_app(engine: Engine) -> HotApp:
    """Return the application; its scope carries the engine's services to Django."""
    # a2wsgi types the same callables more narrowly than Django and we do.
    pages = cast("Any", get_wsgi_application())
    behind = WSGIMiddleware(pages, workers=PAGE_THREADS)
    cache = FileCache()
    return HotApp(
        services=engine.services,
        files=Files(public=engine.environment.public, static=[STATIC], cache=cache),
        pages=Pages(renderer=engine.renderer, store=engine.pages, cache=cache),
        behind=cast("ASGIApp", behind),
        render_wait=render_wait,
        nodes=(
            NodePath(engine.services, engine.environment.node_secret)
            if engine.environment.node_secret is not None
            else None
        ),
        witness=WitnessPath(
            witness=engine.witnessing.witness, clock=engine.services.clock
        ),
    )
