"""What a reader waits for: the weight of the campaign page, the time of public files.

``python -m bench.pages [--rounds 3] [--seconds 1]``

Measured on the demonstration campaign, replayed whole: its chart and tables are full.
"""

from __future__ import annotations

import argparse
import http.client
import re
import shutil
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from typing_extensions import override

from undersigned_verify import tile

from bench import _demo, _instance, _programs, _wrk
from bench._demo import DEMO
from bench._instance import WORK, Running
from bench._results import Bar, Result, Rounds, Table

PAGE_BYTES = 60_000
TIMES = 2.0
CONNECTIONS = 4
LANGUAGES = ("en", "zh-hans")
_IMPORT = re.compile(rb"""@import\s+(?:url\()?["']?([^"')]+)|url\(["']?([^"')]+)""")


class _Assets(HTMLParser):
    """Collects what a browser fetches to show a page for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "link" and {"stylesheet", "icon", "preload", "modulepreload"} & set(
            given.get("rel", "").split()
        ):
            self.found.append(given.get("href", ""))
        elif tag in ("script", "img", "iframe", "source", "object"):
            self.found.append(given.get("src") or given.get("data", ""))


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a page's first view."""

    path: str
    size: int


def fetch(server: Running, path: str) -> bytes:
    """Return a body as it is without compression. Raises NotStarted."""
    connection = http.client.HTTPConnection(_programs.HOST, server.port, timeout=30)
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "identity"})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise _programs.NotStarted(f"{path} answers {answer.status}")
    return body


def weigh(server: Running, path: str) -> list[Part]:
    """Return a page and all that it loads from here, styles' own imports included."""
    page = fetch(server, path)
    assets = _Assets()
    assets.feed(page.decode())
    parts = [Part(path, len(page))]
    waiting = [urljoin(path, one) for one in assets.found if one]
    seen: set[str] = set()
    while waiting:
        one = waiting.pop(0)
        if one in seen or urlsplit(one).scheme or one.startswith("data:"):
            continue
        seen.add(one)
        body = fetch(server, one)
        parts.append(Part(one, len(body)))
        if one.endswith(".css"):
            named = [(a or b).decode() for a, b in _IMPORT.findall(body)]
            waiting += [urljoin(one, name) for name in named]
    return parts


def _choose_files(server: Running) -> dict[str, str]:
    """Return what is timed: the name shown, and the path."""
    path = f"/c/{DEMO}"
    folder = server.data / "public" / "c" / DEMO
    newest = max(int(p.name) for p in (folder / "checkpoints").iterdir())
    return {
        "count.json": f"{path}/count.json",
        "checkpoint": f"{path}/checkpoint",
        "a kept checkpoint": f"{path}/checkpoints/{newest}",
        "a tile of hashes": f"{path}/{tile.tile_path(0, 0)}",
        "a bundle of entries": f"{path}/{tile.tile_path('entries', 0)}",
    }


def _find_static(page: list[Part]) -> Part:
    """Return the largest of the site's own static files that the page loads."""
    own = [part for part in page if part.path.startswith("/static/")]
    return max(own, key=lambda part: part.size)


def main() -> int:
    """Measure the rounds that are missing, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    settings = {"rounds": options.rounds, "seconds": options.seconds}
    rounds = Rounds("pages", settings)
    data = WORK / "pages"
    shutil.rmtree(data, ignore_errors=True)
    WORK.mkdir(parents=True, exist_ok=True)
    shutil.copytree(_demo.ensure_demo(), data, ignore=shutil.ignore_patterns("*.sock"))
    try:
        with _instance.serve(data) as server:
            pages = {
                language: weigh(server, f"/{language}/c/{DEMO}/")
                for language in LANGUAGES
            }
            static = _find_static(pages["en"])
            files = {"static file": static.path, **_choose_files(server)}
            sizes = {name: len(fetch(server, path)) for name, path in files.items()}
            if _wrk.is_there():
                _time_all(rounds, files, server, options.rounds, options.seconds)
    finally:
        shutil.rmtree(data, ignore_errors=True)
    code = report(rounds, settings, pages, sizes).finish()
    rounds.drop()
    return code


def _time_all(
    rounds: Rounds,
    files: dict[str, str],
    server: Running,
    count: int,
    seconds: float,
) -> None:
    for number in range(count):
        for name, path in files.items():
            if rounds.count(name) > number:
                continue
            load = _wrk.get(
                port=server.port,
                path=path,
                folder=WORK,
                seconds=seconds,
                connections=CONNECTIONS,
            )
            load.require_clean(name)
            found = {"p50_ms": load.p50_ms, "p99_ms": load.p99_ms, "rate": load.rate}
            rounds.add(name, found)


def report(
    rounds: Rounds,
    settings: dict[str, float],
    pages: dict[str, list[Part]],
    sizes: dict[str, int],
) -> Result:
    """Return the result of all rounds."""
    result = Result("pages", "What a reader waits for", settings)
    weights = {name: sum(p.size for p in parts) for name, parts in pages.items()}
    for language, weight in weights.items():
        what = f"campaign page ({language}), first view, uncompressed, below"
        result.bars.append(
            Bar(what, PAGE_BYTES / 1e3, weight / 1e3, "kB", at_most=True)
        )
    rows = []
    if rounds.found:
        usual = rounds.median("static file", "p50_ms")
        for name, size in sizes.items():
            times = rounds.median(name, "p50_ms") / usual
            if name != "static file":
                what = f"time to answer {name}, against a static file"
                result.bars.append(Bar(what, TIMES, times, "x", at_most=True))
            figures = [rounds.median(name, n) for n in ("p50_ms", "p99_ms", "rate")]
            shown = [f"{size:,}", f"{figures[0]:.3f}", f"{figures[1]:.2f}"]
            rows.append([name, *shown, f"{figures[2]:,.0f}"])
        columns = ["What", "Bytes", "p50 ms", "p99 ms", "a second"]
        heading = f"Public files, {CONNECTIONS} connections (medians)"
        result.tables.append(Table(heading, columns, rows))
    else:
        result.notes.append(
            "Files were not timed: wrk is missing (apt-get install wrk)."
        )
    result.tables += [
        Table(
            f"Weight of /{language}/c/{DEMO}/",
            ["What", "Bytes"],
            [
                *[[part.path, f"{part.size:,}"] for part in parts],
                ["in all", f"{weights[language]:,}"],
            ],
        )
        for language, parts in pages.items()
    ]
    result.notes.append(
        "The page is that of the demonstration, replayed whole; nothing is compressed, "
        "and everything that a browser asks for to show it is counted."
    )
    result.measured = {
        "rounds": rounds.found,
        "weights": weights,
        "sizes": sizes,
    }
    return result


if __name__ == "__main__":
    raise SystemExit(main())
