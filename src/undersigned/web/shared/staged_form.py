"""Forms of a journey in stages, without a session: what is known travels along.

A stage's answers come back as hidden fields of the next page. They are opaque and
authenticated by the domain; here only their shape is checked. A hidden value that is
missing or misshapen is not the reader's mistake, so it is no field error: the journey
has been lost and starts again.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django import forms
from typing_extensions import override

_OPAQUE = re.compile(r"[A-Za-z0-9_\-.=~]+")


class CarriedField(forms.CharField):
    """An opaque value from an earlier stage, at most 4,096 characters."""

    widget = forms.HiddenInput

    def __init__(self) -> None:
        super().__init__(max_length=4096, strip=True)

    @override
    def validate(self, value: Any) -> None:
        """Accept base64url and its like only."""
        super().validate(value)
        if not _OPAQUE.fullmatch(str(value)):
            raise forms.ValidationError("", code="lost")


class StagedForm(forms.Form):
    """One stage. ``carried`` names the hidden fields it needs from earlier stages."""

    carried: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("auto_id", "f-%s")
        super().__init__(*args, **kwargs)
        for name in self.carried:
            self.fields[name] = CarriedField()

    @property
    def is_lost(self) -> bool:
        """Whether a carried value is missing or misshapen."""
        return self.is_bound and any(name in self.errors for name in self.carried)

    @property
    def shown_errors(self) -> list[tuple[str, str]]:
        """Field id and first message of each visible fault, for the summary on top."""
        return [
            (self[name].id_for_label, str(found[0]))
            for name, found in self.errors.items()
            if name in self.fields and name not in self.carried
        ]
