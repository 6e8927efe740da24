"""Forms of the public pages: they check shape only; the domain decides the rest."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, ClassVar

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from typing_extensions import override

from undersigned.web.public import words
from undersigned.web.shared.staged_form import StagedForm

# The longest receipt: 64 hashes, a checkpoint and a leaf in base64 are under 8 kB; two
# proofs in one file (campaign and spine) still fit.
RECEIPT_MAX_BYTES = 64 * 1024
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_NOT_A_KEY = _("Copy it whole: 43 letters, digits, - or _, or 64 digits and a to f.")


def _attrs(**more: str) -> dict[str, str]:
    return {
        "autocomplete": "off",
        "autocapitalize": "off",
        "spellcheck": "false",
    } | more


class KeyField(forms.CharField):
    """32 bytes as people paste them: base64url or hex, blanks ignored."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", forms.TextInput(attrs=_attrs(**{"class": "key"})))
        super().__init__(max_length=100, **kwargs)

    @override
    def to_python(self, value: Any) -> Any:
        """Return the 32 bytes, or b"" for nothing."""
        text = re.sub(r"\s", "", super().to_python(value) or "")
        if not text:
            return b""
        if _HEX.fullmatch(text):
            return bytes.fromhex(text)
        try:
            found = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", True)
        except (binascii.Error, ValueError):
            found = b""
        if len(found) != 32:
            raise forms.ValidationError(_NOT_A_KEY, code="key")
        return found


class EmailForm(StagedForm):
    """An address to send a code to."""

    address = forms.CharField(
        label=_("Your e-mail address"),
        max_length=254,
        error_messages={
            "required": _("Type the address to which the code is to be sent."),
            "max_length": _("This is too long for an e-mail address."),
        },
        widget=forms.TextInput(
            attrs={
                "type": "email",
                "inputmode": "email",
                "autocomplete": "email",
                "autocapitalize": "off",
                "spellcheck": "false",
            }
        ),
    )


class InvitationForm(StagedForm):
    """A code from a sheet."""

    code = forms.CharField(
        label=_("Your invitation code"),
        max_length=64,
        error_messages={
            "required": _("Type the code from your sheet."),
            "max_length": _("This is longer than any code."),
        },
        widget=forms.TextInput(attrs=_attrs(**{"class": "code"})),
    )


class MailedCodeForm(StagedForm):
    """The short code from a mail, with the request it belongs to."""

    carried: ClassVar[tuple[str, ...]] = ("ask",)
    code = forms.CharField(
        label=_("The code in the mail"),
        max_length=32,
        error_messages={
            "required": _("Type the code from the mail."),
            "max_length": _("This is longer than any code."),
        },
        widget=forms.TextInput(
            attrs={
                "inputmode": "numeric",
                "autocomplete": "one-time-code",
                "class": "code",
            }
        ),
    )

    def clean_code(self) -> str:
        """Drop blanks and dashes: codes are read aloud in groups."""
        return re.sub(r"[\s\-–]", "", str(self.cleaned_data["code"]))


class SolvedForm(StagedForm):
    """The answer to a puzzle, found by the browser."""

    carried: ClassVar[tuple[str, ...]] = ("puzzle", "solution")


class LinkForm(StagedForm):
    """The token of the link in a mail."""

    carried: ClassVar[tuple[str, ...]] = ("t",)


class TicketForm(StagedForm):
    """Permission to sign, alone."""

    carried: ClassVar[tuple[str, ...]] = ("ticket",)


class SignForm(StagedForm):
    """What the signer decides. Built for one campaign: see ``for_campaign``."""

    carried: ClassVar[tuple[str, ...]] = ("ticket",)

    stance = forms.ChoiceField(
        label=_("Your answer"),
        widget=forms.RadioSelect,
        error_messages={
            "required": _("Choose one of the answers."),
            "invalid_choice": _("Choose one of the answers."),
        },
    )
    name = forms.CharField(
        label=_("Name to show"),
        required=False,
        max_length=80,
        help_text=_("Everybody will see it. Leave it empty to show no name."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"max_length": _("A name has at most 80 characters.")},
    )
    place = forms.CharField(
        label=_("Place to show"),
        required=False,
        max_length=60,
        help_text=_("A town or a district, never an address."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"max_length": _("A place has at most 60 characters.")},
    )
    comment = forms.CharField(
        label=_("Why you sign"),
        required=False,
        max_length=500,
        help_text=_(
            "Up to 500 characters, shown after a moderator has read them. Name no"
            " private person, no phone number, no address."
        ),
        widget=forms.Textarea(attrs={"rows": 4}),
        error_messages={"max_length": _("A comment has at most 500 characters.")},
    )
    keep_w = forms.BooleanField(
        label=_("Keep a key with which I can withdraw"), required=False
    )

    def __init__(
        self, *args: Any, stances: tuple[str, ...], shows: bool, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        choices: list[tuple[str, str | Promise]] = [
            (str(words.STANCE_NUMBERS[code]), words.STANCES[code]) for code in stances
        ]
        if len(choices) > 1:
            self.fields["stance"].choices = choices  # type: ignore[attr-defined]  # fields are typed as plain Field
        else:
            del self.fields["stance"]
        for name in ("name", "place", "comment"):
            if shows:
                self.fields[name].widget.attrs["data-refuse"] = words.list_refusals()
            else:
                del self.fields[name]
        self._only_stance = int(choices[0][0])

    @override
    def clean(self) -> dict[str, Any]:
        """Refuse to sign at once for someone who chose to sign later."""
        found = super().clean() or {}
        if self.data.get("when", "0") not in ("", "0"):
            raise forms.ValidationError(
                _("Without scripts you can sign only now. Choose “Now”, or stop here."),
                code="when",
            )
        return found

    @property
    def chosen_stance(self) -> int:
        """Return 0, 1 or 2; the only one offered where there is no choice."""
        return int(self.cleaned_data.get("stance", self._only_stance))


class FetchForm(StagedForm):
    """The number of a signature, and the key to withdraw it if one was kept."""

    nonce = KeyField(
        label=_("Number of the signature"),
        error_messages={"required": _("Type the number you were shown.")},
    )
    w = KeyField(
        label=_("Withdrawal key, if you kept one"),
        required=False,
        help_text=_(
            "It goes into the file, so that the file can withdraw the signature."
        ),
    )


def _read_upload(upload: UploadedFile[bytes]) -> bytes:
    return bytes(upload.read(RECEIPT_MAX_BYTES + 1))


class FileForm(StagedForm):
    """A receipt as a file or as pasted text."""

    receipt = forms.FileField(
        label=_("Receipt file"),
        required=False,
        error_messages={"empty": _("This file is empty.")},
    )
    text = forms.CharField(
        label=_("Or paste what the file says"),
        required=False,
        max_length=RECEIPT_MAX_BYTES,
        widget=forms.Textarea(attrs=_attrs(rows="4")),
    )

    @override
    def clean(self) -> dict[str, Any]:
        """Put the receipt's bytes under ``data``; b"" where there are none."""
        found = super().clean() or {}
        upload = found.get("receipt")
        data = _read_upload(upload) if upload else str(found.get("text", "")).encode()
        if len(data) > RECEIPT_MAX_BYTES:
            raise forms.ValidationError(
                _("This is far too large for a receipt."), code="size"
            )
        # Pasting through a form turns line feeds into carriage return and line feed.
        found["data"] = data.replace(b"\r\n", b"\n")
        return found


class CheckForm(FileForm):
    """A receipt to check."""

    @override
    def clean(self) -> dict[str, Any]:
        """Ask for one or the other."""
        found = super().clean()
        if not found["data"]:
            raise forms.ValidationError(
                _("Choose a receipt file, or paste its text."), code="required"
            )
        return found


class WithdrawForm(FileForm):
    """A receipt that holds the withdrawal key, or number and key by hand."""

    nonce = KeyField(label=_("Number of the signature"), required=False)
    w = KeyField(label=_("Withdrawal key"), required=False)

    @override
    def clean(self) -> dict[str, Any]:
        """Ask for a receipt, or for both values."""
        found = super().clean()
        by_hand = found.get("nonce") and found.get("w")
        if not self.errors and not found["data"] and not by_hand:
            raise forms.ValidationError(
                _("Choose the receipt file, or type both the number and the key."),
                code="required",
            )
        return found
