"""The pages that people see: the fleet's, and those that wait and try again."""

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from runtime.redirector.fleet import State

FOLDER = Path(__file__).parent
INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)

PAGE_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Type": "text/html; charset=utf-8",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Waiting:
    """Why a visitor has to wait, in words for them."""

    title: str
    text: str


FULL = Waiting(
    "All notebooks are in use",
    "Every notebook server is taken at the moment. One becomes free as soon as somebody has finished.",
)
STARTING = Waiting(
    "One moment, please",
    "This service has just started and is looking for free notebook servers.",
)
UNREACHABLE = Waiting(
    "No notebooks at the moment",
    "None of the machines that run notebooks can be given to new visitors right now.",
)
LIMITED = Waiting(
    "Too many notebooks from your address",
    "Many notebooks were asked for from your network's address within a short time, so the next one has to wait.",
)


def reason_without_room(states: Mapping[State, int]) -> Waiting:
    """What to tell a visitor when no node has room.

    Args:
        states: nodes by state.
    """
    if states[State.FULL]:
        return FULL
    return STARTING if states[State.UNKNOWN] else UNREACHABLE


def content_security_policy(page: str) -> str:
    """The header that lets a page use the styles and scripts in it, and nothing else but its own origin's data.

    Args:
        page: the page, its `style` and `script` elements without attributes.
    """
    hashes: dict[str, list[str]] = {"style": [], "script": []}
    for element, content in INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes[element].append(f"'sha256-{digest}'")
    sources = [f"{element}-src {' '.join(found)}" for element, found in hashes.items() if found]
    connect = ["connect-src 'self'"] if hashes["script"] else []
    return "; ".join(
        [
            "default-src 'none'",
            *sources,
            *connect,
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


FLEET_PAGE = (FOLDER / "fleet_page.html").read_text(encoding="utf-8")
FLEET_PAGE_HEADERS: Mapping[str, str] = {
    **PAGE_HEADERS,
    "Content-Security-Policy": content_security_policy(FLEET_PAGE),
}

_WAITING_PAGE = Template((FOLDER / "waiting_page.html").read_text(encoding="utf-8"))
WAITING_PAGE_HEADERS: Mapping[str, str] = {
    **PAGE_HEADERS,
    "Content-Security-Policy": content_security_policy(_WAITING_PAGE.template),
}


def waiting_page(waiting: Waiting, wait_seconds: int) -> str:
    """A page that loads itself again, path and query with it, after a while.

    Args:
        waiting: what to say.
        wait_seconds: when it tries again, at least 1.
    """
    return _WAITING_PAGE.substitute(
        title=html.escape(waiting.title),
        text=html.escape(waiting.text),
        wait=wait_seconds,
        wait_text="a second" if wait_seconds == 1 else f"{wait_seconds} seconds",
    )
