"""The front of the process, spoken to in plain ASGI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.factories.asgi import Browser, make_behind
from tests.factories.instances import Instance
from undersigned.campaigns.data import Campaign
from undersigned.web.hot.app import HotApp
from undersigned.web.hot.files import Files


@pytest.fixture
def static(tmp_path: Path) -> Path:
    """The site's own files."""
    folder = tmp_path / "static"
    (folder / "undersigned").mkdir(parents=True)
    (folder / "look.css").write_text("body { margin: 0 }")
    (folder / "undersigned" / "sign.js").write_text("export {}")
    (tmp_path / "secret.txt").write_text("not for anybody")
    return folder


def make_browser(instance: Instance, static: Path) -> Browser:
    """Return a browser in front of the instance as it runs now."""
    browser = Browser(app=make_behind([]))
    browser.app = HotApp(
        services=instance.engine.services,
        files=Files(public=instance.environment.public, static=[static]),
        behind=make_behind(browser.passed_on),
    )
    return browser


@pytest.fixture
def browser(instance: Instance, static: Path) -> Browser:
    """Asha's browser."""
    return make_browser(instance, static)


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    """A campaign by e-mail and openly, with names."""
    return instance.open_campaign(classes=["email", "open"])
