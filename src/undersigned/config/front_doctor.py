"""What the doctor says of what stands in front: address, listener, proxy, arrivals."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from undersigned.cli.context import Finding, Values
from undersigned.cli.remote import run_remotely
from undersigned.config.env import Environment
from undersigned.kernel.errors import UndersignedError

LOCAL = ("localhost", "127.0.0.1", "::1", "")
# Smaller networks may be a few proxies side by side.
WIDE_PREFIX = {4: 24, 6: 64}


def examine_front(environment: Environment) -> Iterator[Finding]:
    """Say what is unsafe about how people reach this instance."""
    yield from _examine_address(environment)
    yield from _examine_proxy(environment)
    arrivals = _ask_arrivals(environment)
    if arrivals is not None:
        yield from judge_arrivals(environment, arrivals)


def _examine_address(environment: Environment) -> Iterator[Finding]:
    parts = urlsplit(environment.base_url)
    if parts.scheme == "https":
        yield Finding("ok", "https", "pages are given out with https")
    elif parts.hostname in LOCAL:
        yield Finding("note", "http-local", "plain HTTP, on this machine only")
    else:
        yield Finding(
            "danger",
            "plain-http",
            "pages go out over plain HTTP: everybody on the way sees who signs, and "
            "browsers without secure context sign through the server",
        )
    if environment.bind_host not in LOCAL:
        if parts.scheme != "https":
            yield Finding(
                "danger",
                "listens-widely",
                f"the server listens on {environment.bind_host} without TLS in front",
            )
        else:
            yield Finding(
                "warning",
                "listens-beside-proxy",
                f"the server listens on {environment.bind_host}: whoever reaches port "
                f"{environment.bind_port} speaks plain HTTP, past the TLS in front. "
                "Bind to 127.0.0.1, or see docs/operate/tls.md",
            )
    if parts.netloc.lower() != environment.host:
        yield Finding(
            "note",
            "host-differs",
            f"logs are signed for {environment.host}, pages are at {parts.netloc}",
        )


def _examine_proxy(environment: Environment) -> Iterator[Finding]:
    trusted = [each.strip() for each in environment.trusted_proxy.split(",")]
    if trusted == [""]:
        if environment.mode == "production":
            yield Finding(
                "note",
                "no-trusted-proxy",
                "UNDERSIGNED_TRUSTED_PROXY is not set: behind a proxy on this machine "
                "everybody looks like this machine, and nobody is rate limited",
            )
        return
    wide: list[str] = []
    unknown: list[str] = []
    for each in trusted:
        try:
            network = ipaddress.ip_network(each)
        except ValueError:
            (wide if each == "*" else unknown).append(each)
            continue
        if network.prefixlen < WIDE_PREFIX[network.version]:
            wide.append(each)
    if wide:
        yield Finding(
            "danger",
            "proxy-trust-wide",
            f"UNDERSIGNED_TRUSTED_PROXY trusts {', '.join(wide)}: anybody there may "
            "claim to be anybody, and no limit holds. Name the proxy alone",
        )
    if unknown:
        yield Finding(
            "warning",
            "proxy-trust-unknown",
            f"UNDERSIGNED_TRUSTED_PROXY has {', '.join(unknown)}, which is no address: "
            "nobody is believed by it",
        )


def _ask_arrivals(environment: Environment) -> Values | None:
    """Return what the running server has counted; None where none runs."""
    try:
        return run_remotely(environment.data, "arrivals", {}, lambda _progress: None)
    except (UndersignedError, OSError):
        return None


def judge_arrivals(environment: Environment, arrivals: Values) -> Iterator[Finding]:
    """Compare how requests have arrived with what is set."""
    is_https = environment.base_url.startswith("https:")
    if arrivals["not_believed"]:
        yield Finding(
            "warning",
            "forwarded-not-believed",
            f"{arrivals['not_believed']} requests since the start named another's "
            "address and came from nobody who is trusted: either "
            "UNDERSIGNED_TRUSTED_PROXY does not name the proxy, and all its visitors "
            "share one limit, or somebody reaches the program past it",
        )
    if environment.trusted_proxy and arrivals["direct"]:
        # On this machine it may be its operator, who looks whether it runs.
        is_local = environment.bind_host in LOCAL
        yield Finding(
            "note" if is_local and arrivals["believed"] else "warning",
            "came-past-proxy",
            f"{arrivals['direct']} requests since the start named no forwarded "
            "address: they came past the proxy, or it does not set X-Forwarded-For, "
            "and then nobody is rate limited",
        )
    if is_https and arrivals["plain"] and arrivals["believed"]:
        yield Finding(
            "warning",
            "proxy-says-no-https",
            f"{arrivals['plain']} requests since the start came without "
            "X-Forwarded-Proto: https, though pages are given out with https: forms of "
            "old browsers are refused. An onion service is one reason, and no fault",
        )
