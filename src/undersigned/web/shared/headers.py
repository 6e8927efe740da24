"""Headers that pages carry, whoever sends them: Django, the front, or nginx.

``docs/operate/nginx.md`` repeats them for nginx; a test compares.
"""

from __future__ import annotations

from typing import Final

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final[dict[str, str]] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "camera=(), microphone=(), geolocation=(), browsing-topics=(), payment=()"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every page; the raw ASGI path sends the same ones with a stricter policy."""

# Who may keep a page, and for how long. What shows a count is fresh for less than the
# shortest interval of publication; a cache may show an older one for a minute while it
# asks, and for a day while nobody answers: the page says as of which checkpoint it is.
READING: Final = "public, max-age=15, stale-while-revalidate=60, stale-if-error=86400"
# What changes with a new version of the product only.
STANDING: Final = (
    "public, max-age=300, stale-while-revalidate=3600, stale-if-error=86400"
)
# What can be erased is asked for again every time: no copy outlives it.
ERASABLE: Final = "public, no-cache"
