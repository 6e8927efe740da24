"""Whether another site made a browser send something: asked at the door and inside."""

from __future__ import annotations


def is_from_elsewhere(*, site: str | None, origin: str | None, own: str) -> bool:
    """Whether another site made the browser send this.

    ``site`` and ``origin``: the headers ``Sec-Fetch-Site`` and ``Origin``, ``own``:
    scheme and host of the request. There are no cookies here, so such a request would
    carry nobody's authority; it is refused so that no page can spend a visitor's
    address or rate limit. ``none`` is a reload or a typed address. A browser that sends
    no ``Sec-Fetch-Site`` (old, or on plain HTTP) sends ``Origin: null`` from our own
    pages too, because they send no referrer: such a request passes.
    """
    if site is not None:
        return site not in ("same-origin", "none")
    return origin not in (None, "null", own)
