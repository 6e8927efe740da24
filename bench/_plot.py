"""A plot as SVG: one line for each series over sizes in powers of ten."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 170, 52, 52
# Told apart by the form of their points too: not everybody tells colours apart.
INKS = ("#0b5394", "#b45309", "#3f7d20", "#7b2d8b")


def draw(
    *,
    title: str,
    unit: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
) -> str:
    """Return the picture. ``series``: points (leaves, value) by what they measure."""
    points = [point for line in series.values() for point in line]
    low = math.floor(math.log10(min(x for x, _y in points)))
    high = math.ceil(math.log10(max(x for x, _y in points)))
    top = _round_up(max(y for _x, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low) / max(high - low, 1)
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'role="img" font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="600">'
        f"{escape(title)}</text>",
        f'<text x="{LEFT}" y="42" fill="#444">{escape(unit)}</text>',
    ]
    for step in range(6):
        value = top * step / 5
        _x, y = place(10**low, value)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="#ddd"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#444">'
            f"{value:,.0f}</text>"
        )
    for power in range(low, high + 1):
        x, y = place(10**power, 0)
        parts.append(
            f'<text x="{x:.1f}" y="{y + 22:.1f}" text-anchor="middle" fill="#444">'
            f'10<tspan dy="-5" font-size="10">{power}</tspan></text>'
        )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" '
        'text-anchor="middle" fill="#444">leaves in the log before</text>'
    )
    beside: list[float] = []
    for number, (name, line) in enumerate(series.items()):
        parts += _draw_line(name, [place(*point) for point in line], number, beside)
    return "\n".join([*parts, "</svg>", ""])


def _draw_line(
    name: str, line: Sequence[tuple[float, float]], number: int, beside: list[float]
) -> list[str]:
    ink = INKS[number % len(INKS)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
    parts = [f'<polyline points="{path}" fill="none" stroke="{ink}" stroke-width="2"/>']
    for x, y in line:
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{ink}"/>'
            if number % 2 == 0
            else f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" '
            f'fill="{ink}"/>'
        )
    x, y = line[-1]
    while any(abs(y - other) < 16 for other in beside):
        y -= 16
    beside.append(y)
    parts.append(
        f'<text x="{x + 10:.1f}" y="{y + 4:.1f}" fill="{ink}">{escape(name)}</text>'
    )
    return parts


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 2.5 and 5 times a power of ten, so that a fifth of it
    is a round number."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= value)
