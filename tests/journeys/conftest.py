"""One server and one browser for all journeys; a fresh, empty context for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.journeys.navigators import Visitor
from tests.journeys.world import World, start_world
from tests.support import program

# Chromium looks for updates and hosts of its own at every start; not here.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP lan.test 127.0.0.1",
]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The instance."""
    running = start_world(tmp_path_factory.mktemp("world"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    path = program("chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield running
        running.close()


@pytest.fixture
def visit(
    world: World, browser: Browser, tmp_path: Path
) -> Iterator[Callable[..., Visitor]]:
    """Return a function that sits somebody down at a fresh browser.

    Whatever the page logs as an error, and every request that leaves this host, fails
    the journey at its end; so does a cookie.
    """
    visitors: list[Visitor] = []
    contexts: list[BrowserContext] = []

    def sit_down(
        *, scripts: bool = True, base: str | None = None, width: int = 1280
    ) -> Visitor:
        context = browser.new_context(
            java_script_enabled=scripts,
            viewport={"width": width, "height": 900},
            locale="en-GB",
        )
        # Much longer than anything takes: a crowded host is no failure.
        context.set_default_timeout(30_000)
        contexts.append(context)
        visitor = Visitor(context.new_page(), base or world.base, tmp_path)
        visitors.append(visitor)
        return visitor

    yield sit_down
    try:
        for visitor in visitors:
            visitor.require_clean_visit()
    finally:
        for context in contexts:
            context.close()
