"""Pages about the site: promises, privacy, abuse, unasked mails, and the mailbox."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from undersigned.eligibility.queries import list_mailbox
from undersigned.web.shared.headers import STANDING
from undersigned.web.shared.page import render_page
from undersigned.web.shared.services import find_mode, services


@dataclass(frozen=True, slots=True)
class Contact:
    """How to reach someone; ``url`` is empty where the text is neither mail nor web."""

    text: str
    url: str

    @classmethod
    def parse(cls, text: str | None) -> Contact | None:
        """Return what to link, or None where nothing was named."""
        if not text:
            return None
        is_web = text.startswith(("https://", "http://"))
        url = text if is_web else f"mailto:{text}" if "@" in text else ""
        return cls(text, url)


def _page(request: HttpRequest, name: str) -> HttpResponse:
    facts = services(request).settings
    context: dict[str, object] = {
        "facts": facts,
        "contact": Contact.parse(facts.abuse_contact),
    }
    return render_page(request, f"public/about/{name}.html", context, cache=STANDING)


@require_safe
def promises(request: HttpRequest) -> HttpResponse:
    """Show what is promised and what is not, in the protocol's words."""
    return _page(request, "promises")


@require_safe
def privacy(request: HttpRequest) -> HttpResponse:
    """Show what is stored, where, for how long, and what is not."""
    return _page(request, "privacy")


@require_safe
def abuse(request: HttpRequest) -> HttpResponse:
    """Show whom to write to."""
    return _page(request, "abuse")


@require_safe
def unasked(request: HttpRequest) -> HttpResponse:
    """Answer who got a code without asking for one."""
    return _page(request, "unasked")


@require_safe
def mailbox(request: HttpRequest) -> HttpResponse:
    """Show the mails of a demonstration; in production there is no such page."""
    if find_mode(request) == "production":
        raise Http404
    mails = list_mailbox(desk=services(request).desk)
    return render_page(request, "public/mailbox/mailbox.html", {"mails": mails})
