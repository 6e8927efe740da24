"""An ordinary Django view that does a redeem's work, for comparison.

What the product does for each signature, in the way that the tutorial and the topic
guides teach: the campaign is fetched by its address and must be open, the JSON body is
validated by a form, the token is checked, the row is written by ``get_or_create``
inside one transaction with synchronous=FULL, so that the same body again gets the same
answer, and a promise is signed. The middleware is what ``startproject`` writes;
gunicorn runs two sync workers. Nothing is slowed down on purpose: the keys are loaded
once, and no template, session or login is touched.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
from functools import cache
from typing import Any, ClassVar

import django
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django import forms
from django.conf import settings
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from typing_extensions import override

from undersigned_verify import note, token

CAMPAIGN = "river"
ORIGIN = f"bench.example/c/{CAMPAIGN}"
PATH = f"/c/{CAMPAIGN}/sign"

settings.configure(
    SECRET_KEY="measured-only",  # noqa: S106 - signs nothing; the process is a bench's
    DEBUG=False,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
    ],
    MIDDLEWARE=[
        # As `django-admin startproject` writes them.
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.path.join(os.environ["ORDINARY_DATA"], "ordinary.sqlite3"),
            # Kept open: connecting for each request is what a beginner does.
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 30,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
            },
        }
    },
    USE_TZ=True,
)
django.setup()


class Campaign(models.Model):
    """A campaign with its issuer key."""

    id = models.SlugField(primary_key=True)
    is_open = models.BooleanField()
    spki = models.BinaryField()
    challenge_digest = models.BinaryField()
    objects: ClassVar[models.Manager[Campaign]] = models.Manager()

    class Meta:
        """Its app, which is no package."""

        app_label = "ordinary"


class Inbox(models.Model):
    """A signature that waits."""

    nonce = models.BinaryField(primary_key=True)
    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT)
    leaf = models.BinaryField()
    objects: ClassVar[models.Manager[Inbox]] = models.Manager()

    class Meta:
        """Its app, which is no package."""

        app_label = "ordinary"


class Base64Field(forms.CharField):
    """So many bytes in base64url without padding."""

    def __init__(self, *, length: int) -> None:
        super().__init__()
        self._length = length

    @override
    def to_python(self, value: Any) -> Any:
        """Return the bytes."""
        text = str(super().to_python(value))
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except binascii.Error:
            data = b""
        if len(data) != self._length:
            raise forms.ValidationError("not so many bytes in base64url", code="bytes")
        return data


class SignForm(forms.Form):
    """The members of the body."""

    key_index = forms.IntegerField(min_value=0, max_value=0xFFFF)
    stance = forms.TypedChoiceField(choices=[(0, "for")], coerce=int)
    public_hash = Base64Field(length=32)
    withdraw_hash = Base64Field(length=32)
    r = Base64Field(length=32)
    authenticator = Base64Field(length=256)


_log_key = Ed25519PrivateKey.generate()


@cache
def _load_key(spki: bytes) -> token.TokenKey:
    return token.TokenKey(spki)


@csrf_exempt
@require_POST
def sign(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """Check a signature, store it, answer with a promise."""
    campaign = get_object_or_404(Campaign, pk=campaign_id, is_open=True)
    form = SignForm(json.loads(request.body))
    if not form.is_valid():
        return JsonResponse({"code": "signature-malformed"}, status=400)
    found = form.cleaned_data
    challenge = bytes(campaign.challenge_digest)
    hashes = found["public_hash"], found["withdraw_hash"], found["r"]
    nonce = token.nonce(challenge, found["stance"], *hashes)
    key = _load_key(bytes(campaign.spki))
    signed = token.token_input(nonce, challenge, key.key_id)
    if not key.verify(signed, found["authenticator"]):
        return JsonResponse({"code": "token-not-valid"}, status=400)
    head = b"\x01\x01" + found["key_index"].to_bytes(2) + bytes([found["stance"]])
    leaf = b"".join((head, *hashes, found["authenticator"]))
    with transaction.atomic():
        Inbox.objects.get_or_create(
            nonce=nonce, defaults={"campaign": campaign, "leaf": leaf}
        )
    text = (
        f"undersigned promise v1\n{ORIGIN}\n{nonce.hex()}\n{int(time.time()) + 86400}\n"
    )
    promise = note.sign_note(text, f"{ORIGIN}/promise", _log_key)
    return JsonResponse({"promise": promise.decode()})


urlpatterns = [path("c/<slug:campaign_id>/sign", sign)]


def make_tables() -> None:
    """Make its tables, and the one campaign."""
    from django.db import connection

    with connection.schema_editor() as editor:
        editor.create_model(Campaign)
        editor.create_model(Inbox)
    Campaign.objects.create(
        id=CAMPAIGN,
        is_open=True,
        spki=bytes.fromhex(os.environ["ORDINARY_SPKI"]),
        challenge_digest=bytes.fromhex(os.environ["ORDINARY_CHALLENGE"]),
    )


def make_app() -> object:
    """Return the WSGI application."""
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


if __name__ == "__main__":
    make_tables()
else:
    app = make_app()
