"""Addresses of the public pages, each under its language.

The root conf splices ``urlpatterns`` in (``i18n_patterns`` may not be included);
``LocaleMiddleware`` sends ``/`` and ``/c/ID/`` to the reader's language.
"""

from __future__ import annotations

from django.conf.urls.i18n import i18n_patterns
from django.urls import path

from undersigned.web.public import about, campaigns, check, receipt, sign, withdraw

urlpatterns = i18n_patterns(
    path("", campaigns.list_all, name="campaigns"),
    path("c/<slug:campaign_id>/", campaigns.show, name="campaign"),
    path("c/<slug:campaign_id>/growth/", campaigns.show_growth, name="growth"),
    path("c/<slug:campaign_id>/removals/", campaigns.show_removals, name="removals"),
    path("c/<slug:campaign_id>/names/", campaigns.show_names, name="names"),
    path("c/<slug:campaign_id>/records/", campaigns.show_records, name="records"),
    path("c/<slug:campaign_id>/sign/", sign.brief, name="sign"),
    path("c/<slug:campaign_id>/sign/ask/", sign.ask, name="sign-ask"),
    path("c/<slug:campaign_id>/sign/confirm/", sign.confirm_code, name="sign-confirm"),
    path("c/<slug:campaign_id>/sign/write/", sign.write, name="sign-write"),
    path("c/<slug:campaign_id>/sign/finish/", sign.finish, name="sign-finish"),
    path("c/<slug:campaign_id>/receipt/", receipt.fetch, name="receipt"),
    path("c/<slug:campaign_id>/withdraw/", withdraw.withdraw, name="withdraw"),
    path("confirm/", sign.confirm_link, name="confirm"),
    path("check/", check.check, name="check"),
    path("promises/", about.promises, name="promises"),
    path("privacy/", about.privacy, name="privacy"),
    path("abuse/", about.abuse, name="abuse"),
    path("unasked/", about.unasked, name="unasked"),
    path("mailbox/", about.mailbox, name="mailbox"),
)
