"""The one mail a signer gets: a code and a link, and nothing about what for."""

from __future__ import annotations

from collections.abc import Callable

from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext

from undersigned.eligibility.data import ConfirmationMail, Mail
from undersigned.eligibility.rules import ASK_LIFETIME


def make_renderer(*, host: str, base_url: str) -> Callable[[ConfirmationMail], Mail]:
    """Return the function that writes a confirmation mail in its reader's language.

    ``base_url``: scheme and host as visitors type them, without a slash at the end.
    """

    def render(mail: ConfirmationMail) -> Mail:
        with translation.override(mail.language):
            link = f"{base_url}{reverse('confirm')}?t={mail.link_token}"
            context = {
                "host": host,
                "code": f"{mail.code[:4]} {mail.code[4:]}",
                "link": link,
                "unasked": f"{base_url}{reverse('unasked')}",
                "hours": int(ASK_LIFETIME.total_seconds()) // 3600,
            }
            # A subject is read over shoulders and on locked screens: no code in it,
            # no demand, no campaign.
            subject = gettext("Your code")
            body = render_to_string("mail/confirmation.txt", context)
        return Mail(to=mail.address, subject=subject, body=body, language=mail.language)

    return render
