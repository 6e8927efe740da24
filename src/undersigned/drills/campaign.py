"""Synthetic campaigns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def write_campaign(
    campaign_id: str,
    *,
    mode: str = "standard",
    classes: Sequence[str] = ("email",),
    show_names: bool = True,
    interval_minutes: int | None = None,
    crowd: int | None = None,
    closes_on: str | None = None,
) -> bytes:
    """Return a campaign file."""
    lines = [
        f'id = "{campaign_id}"',
        f'title = "Keep the river path open ({campaign_id})"',
        f'mode = "{mode}"',
        f"classes = [{', '.join(repr(name) for name in classes)}]",
        'stances = ["for", "reservation", "against"]',
        f"show_names = {'true' if show_names else 'false'}",
    ]
    if interval_minutes is not None:
        lines.append(f"interval_minutes = {interval_minutes}")
    if crowd is not None:
        lines.append(f"crowd = {crowd}")
    if closes_on is not None:
        lines.append(f"closes_on = {closes_on}")
    lines += [
        "[[offices]]",
        'name = "District Works Office"',
        'jurisdiction = "Riverside"',
        "[organiser]",
        'name = "Omar (drill)"',
        'contact = "omar@example.org"',
        "[statement]",
        'text = "The office shall keep the river path open."',
    ]
    return ("\n".join(lines) + "\n").encode()


def save_campaign(folder: Path, campaign_id: str, data: bytes) -> Path:
    """Write a campaign file into ``folder`` and return its path."""
    path = folder / f"{campaign_id}.toml"
    path.write_bytes(data)
    return path
