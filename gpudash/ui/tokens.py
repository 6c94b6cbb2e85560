"""The names of everything that has a look of its own. Themes give each a style; screens use the names and nothing
else.

A *token* is what a piece of text means (``guard-none``); a *ground* is what it stands on (``cursor``). A style in a
theme is a colour with attributes: ``bold #ff5555``. Tokens a theme leaves out borrow the look of another, named
here.
"""

from __future__ import annotations

GROUNDS = ("background", "surface", "panel", "cursor", "marked")
"""Table and page · details · strip and footer · the line under the cursor · marked lines."""

FALLBACKS: dict[str, str | None] = {
    # plain text, by weight
    "text": None,
    "muted": None,
    "title": "text",
    "label": "muted",
    "value": "text",
    "accent": None,
    "key": "accent",
    "key-off": "muted",
    "rule": "muted",
    "mark": "accent",
    "sorted": "accent",
    "link": "accent",
    # what an instance is doing
    "status-running": "tone-good",
    "status-pending": "tone-warn",
    "status-starting": "status-pending",
    "status-stopping": "status-pending",
    "status-stopped": "muted",
    "status-hibernated": "muted",
    "status-terminating": "status-stopping",
    "status-terminated": "muted",
    "status-error": "tone-bad",
    "status-unknown": "unknown",
    "still-billing": "tone-bad",
    # whether anything will end it
    "guard-armed": "tone-good",
    "guard-degraded": "tone-warn",
    "guard-none": "tone-bad",
    "guard-absent": "muted",
    # how soon
    "urgency-now": "tone-bad",
    "urgency-soon": "tone-warn",
    "urgency-calm": "text",
    # what the money buys
    "billed-busy": "tone-good",
    "billed-idle": "tone-warn",
    "billed-parked": "tone-warn",
    "unknown": None,
    "money": "text",
    "money-risk": "tone-bad",
    "estimate": "muted",
    # gauges and sparklines
    "gauge-on": "accent",
    "gauge-off": "muted",
    "spark": "accent",
    # clouds
    "provider-ok": "tone-good",
    "provider-late": "tone-warn",
    "provider-lost": "tone-bad",
    # answers
    "tone-good": None,
    "tone-warn": None,
    "tone-bad": None,
}
"""Each token and the one it borrows from; those without one must be in every theme."""

TOKENS = tuple(FALLBACKS)
