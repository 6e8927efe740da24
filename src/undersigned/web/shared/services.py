"""What the one process carries for its views: clock, ledger, book, issuer, desk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest

if TYPE_CHECKING:
    from undersigned.credentials.issuer import Issuer
    from undersigned.eligibility.desk import EligibilityDesk
    from undersigned.kernel.clock import Clock
    from undersigned.ledger.ledger import Ledger
    from undersigned.safety.arrivals import Arrivals
    from undersigned.safety.intake import Intake
    from undersigned.safety.turns import Lines
    from undersigned.signatures.book import SigningBook

# In the scope of a request that was counted at the door.
TURN_TAKEN: Final = "undersigned.turn"

InstanceMode: TypeAlias = Literal["development", "demo", "production"]


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What pages say about this instance.

    ``host``: issuer name and first part of every origin. ``base_url``: scheme and
    host as a visitor types them, without a slash at the end. ``abuse_contact``: a mail
    or web address, or None while the operator has named none.
    """

    host: str
    base_url: str
    mode: InstanceMode
    abuse_contact: str | None
    operator_name: str | None


@dataclass(frozen=True, slots=True)
class Services:
    """The running parts; one of each in a process (``config.asgi`` makes them)."""

    clock: Clock
    ledger: Ledger
    book: SigningBook
    issuer: Issuer
    desk: EligibilityDesk
    intake: Intake
    lines: Lines
    arrivals: Arrivals
    settings: InstanceFacts


def services(request: HttpRequest) -> Services:
    """Return the process's services: they travel in the ASGI scope (STACK.md)."""
    environ = cast("WSGIRequest", request).environ
    return cast("Services", environ["asgi.scope"]["undersigned"])


def find_mode(request: HttpRequest) -> InstanceMode:
    """Return the instance's mode; production where no service runs, as in an error."""
    scope = cast("WSGIRequest", request).environ.get("asgi.scope", {})
    found = cast("Services | None", scope.get("undersigned"))
    return found.settings.mode if found else "production"


def require_turn(request: HttpRequest) -> None:
    """Count one attempt from the caller's network. Raises TooManyRequests.

    The address is looked at and forgotten; only a keyed hash of its network is held,
    in memory (safety.intake). Not where the door has done so already (web.hot.door).
    """
    scope = cast("WSGIRequest", request).environ["asgi.scope"]
    if scope.get(TURN_TAKEN):
        return
    services(request).intake.require(request.META.get("REMOTE_ADDR"))
