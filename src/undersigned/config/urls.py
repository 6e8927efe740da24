"""The root URL table: one line an audience."""

from __future__ import annotations

from undersigned.web.public.urls import urlpatterns as public_patterns

urlpatterns = [*public_patterns]

handler400 = "undersigned.web.shared.errors.handler400"
handler403 = "undersigned.web.shared.errors.handler403"
handler404 = "undersigned.web.shared.errors.handler404"
handler500 = "undersigned.web.shared.errors.handler500"
