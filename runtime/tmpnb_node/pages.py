"""The pages that people see when there is no server for them: small, readable on a phone, and made of nothing else."""

import base64
import hashlib
from dataclasses import dataclass
from html import escape

_STYLE = (
    "body{font:18px/1.5 system-ui,sans-serif;max-width:34em;margin:15vh auto 0;padding:0 1.2em;color:#222;background:#fff}"
    "h1{font-size:1.4em;line-height:1.25}a{color:#0b57d0}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#111}a{color:#8ab4f8}}"
)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; "
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What every page is sent with."""


@dataclass(frozen=True)
class Page:
    """One page."""

    title: str
    text: str
    link: str = ""
    """Words of the link to a new notebook; empty for none."""
    retry_seconds: int | None = None
    """After which the page asks again for what it stands for; None: never."""

    def html(self, start: str, again: str = "") -> str:
        """The page's text.

        Args:
            start: address of the pool, whose redirector knows which node has room.
            again: address that the page asks for after `retry_seconds`; empty for its own.
        """
        retry = f"{self.retry_seconds};url={again}" if again else str(self.retry_seconds)
        refresh = f'<meta http-equiv="refresh" content="{escape(retry)}">' if self.retry_seconds else ""
        link = f'<p><a href="{escape(start)}/">{escape(self.link)}</a></p>' if self.link else ""
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width,initial-scale=1">{refresh}'
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head>"
            f"<body><h1>{escape(self.title)}</h1><p>{escape(self.text)}</p>{link}</body></html>"
        )


FULL = Page(
    "No notebook is free at the moment",
    "One will be as soon as somebody leaves or another has started. This page asks all machines again by itself: you can "
    "leave it open.",
    retry_seconds=10,
)
DRAINING = Page(
    "This machine takes no new visitors",
    "It is being taken out of service. This page takes you to another machine by itself.",
    retry_seconds=5,
)
CLOSED = Page(
    "Notebooks are not available at the moment",
    "Those who run this service can see why. This page asks again by itself: you can leave it open.",
    retry_seconds=10,
)
COMING = Page(
    "Your notebook is being connected",
    "This takes a few seconds. This page asks again by itself.",
    retry_seconds=2,
)
GONE = Page(
    "This notebook has ended",
    "Notebooks here are temporary: they end when nobody has used them for a while, and what was in them is gone.",
    link="Start a new one",
)
BAD_ADDRESS = Page("This address makes no sense", "Check the link that you followed.", link="Start a notebook")


def holds_too_many(seconds: int) -> Page:
    """The page of an address that has as many servers as it may; it asks again after `seconds`."""
    return Page(
        "Your network has as many notebooks as it may have here",
        "When one of them ends, this page gets you another: it asks again by itself. "
        "Who teaches a class can have the limit raised.",
        retry_seconds=seconds,
    )


def too_many(seconds: int) -> Page:
    """The page of an address that has had too many servers; the next one is there after `seconds`."""
    return Page(
        "Too many notebooks were started from your network",
        f"The next one can be started in {seconds} seconds. This page asks again by itself.",
        retry_seconds=seconds,
    )
