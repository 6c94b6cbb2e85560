"""The HTML page: who sees it, what it shows, and how it looks in a real browser."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from .browser import PROGRAM, Browser
from .conftest import TOKEN, Host, after, until

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def login(host: Host, token: str = TOKEN) -> dict[str, str]:
    """The headers of a browser that has signed in."""
    answer = host.post("/login", f"token={token}".encode(), token=None, headers=FORM)
    assert answer.status == 303
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


def test_without_a_session_only_the_form_is_shown(host: Host) -> None:
    """A stranger learns nothing about the host."""
    host.start()
    page = host.get("/", token=None)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b'name="token"' in page.body
    assert not re.search(rb"train|work|i-1|/status", page.body)


def test_session_is_a_strict_cookie_without_the_token(host: Host) -> None:
    """The cookie holds a random id, is out of reach for scripts and other sites, and the token is in no URL."""
    host.start()
    answer = host.post("/login", f"token={TOKEN}".encode(), token=None, headers=FORM)
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert (TOKEN in cookie, answer.headers["location"]) == (False, "/")


@pytest.mark.parametrize("body", [b"", b"token=", b"token=wrong", b"\xff", b"other=" + TOKEN.encode()])
def test_wrong_token_is_refused_in_words(host: Host, body: bytes) -> None:
    """A wrong token gets the form again, and no cookie."""
    host.start()
    answer = host.post("/login", body, token=None, headers=FORM)
    assert (answer.status, "set-cookie" in answer.headers) == (401, False)
    assert "not this host" in answer.body.decode()


def test_token_with_escapes_signs_in(host: Host) -> None:
    """A token that a browser has to escape works."""
    (host.home / "token").write_text("a+b/c= %d")
    host.start()
    assert login(host, "a%2Bb%2Fc%3D+%25d")


def test_session_reads_but_changes_nothing(host: Host) -> None:
    """The cookie opens /status and the page; every change needs the token itself."""
    host.start()
    session = login(host)
    assert host.get("/status", token=None, headers=session).status == 200
    for path in ("/activity", "/extend", "/shutdown"):
        assert host.post(path, {"action": "stop"}, token=None, headers=session).status == 401
    assert host.ended() == []


def test_sign_out_ends_the_session(host: Host) -> None:
    """After signing out the cookie is worth nothing."""
    host.start()
    session = login(host)
    host.post("/logout", token=None, headers=session)
    assert host.get("/status", token=None, headers=session).status == 401


def test_made_up_session_is_no_session(host: Host) -> None:
    """A guessed cookie opens nothing."""
    host.start()
    name = login(host)["Cookie"].partition("=")[0]
    for value in ("", "x", "0" * 48):
        assert host.get("/status", token=None, headers={"Cookie": f"{name}={value}"}).status == 401


def test_page_is_self_contained(host: Host) -> None:
    """Nothing is loaded from elsewhere, and the policy forbids it."""
    host.start()
    page = host.get("/", token=None, headers=login(host))
    assert b"http://" not in page.body.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"https://" not in page.body
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"


@pytest.fixture
def browser(tmp_path: Path, without: Callable[[str], NoReturn]) -> Iterator[Browser]:
    """A headless Chromium."""
    if PROGRAM is None:
        without("chromium")
    made = Browser(tmp_path / "profile")
    yield made
    made.close()


def sign_in(browser: Browser, host: Host) -> None:
    """Go to the page and sign in as a person does."""
    browser.call("Page.navigate", url=f"http://127.0.0.1:{host.port}/")
    until(lambda: browser.evaluate("!!document.getElementById('token')"), "the form is there")
    browser.evaluate(f"document.getElementById('token').value = {TOKEN!r}; document.forms[0].submit()")
    until(lambda: "SIGNALS" in browser.text() and "Ends in" in browser.text(), "the page is drawn")


def test_a_person_sees_the_host(host: Host, browser: Browser) -> None:
    """Signed in, the page tells name, end, reason and signals and follows what changes, with a clean console."""
    host.start(instance={"name": "<b>train</b>"}, policy={"idle_timeout_s": 1800}).settle()
    sign_in(browser, host)
    text = browser.text()
    assert "<b>train</b>" in text
    assert "Ends in 30 min" in text
    assert "because it is idle" in text
    host.post("/activity", {"hold_s": 3600})
    host.post("/extend", {"deadline": after(5 * 3600)})
    until(lambda: "Ends in 5 h" in browser.text() and "declared until" in browser.text(), "the page follows")
    assert browser.complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(1100, "light"), (1100, "dark"), (360, "light")])
def test_page_fits_and_is_readable(host: Host, browser: Browser, width: int, scheme: str) -> None:
    """No sideways scrolling on a phone, contrast of at least 4.5 in both schemes, and a name for every meter."""
    host.start(policy={"lease_deadline": after(240)}, colour="red").settle()
    browser.show(width, scheme)
    sign_in(browser, host)
    until(lambda: "will be terminated" in browser.text(), "the warning is shown")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.evaluate("[...document.querySelectorAll('[role=meter]')].every(m => m.getAttribute('aria-label'))")
    assert browser.evaluate(CONTRAST) == []


def test_page_says_when_the_host_is_gone(host: Host, browser: Browser) -> None:
    """A page left open does not go on showing old values as if they were new."""
    host.start().settle()
    sign_in(browser, host)
    port = host.port
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        host.kill()
        kept.bind(("127.0.0.1", port))
        kept.listen()  # and never answers; a port that is only bound is taken over by a daemon of another test
        until(lambda: "no answer for" in browser.text(), "it says so")


CONTRAST = """
(() => {
  const part = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 };
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
    return .2126 * part(r) + .7152 * part(g) + .0722 * part(b) };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (!/, 0\\)$/.test(c)) return c } return "rgb(255, 255, 255)" };
  return [...document.querySelectorAll("body *")].filter(e => [...e.childNodes].some(
      n => n.nodeType === 3 && n.data.trim()) && e.offsetParent).map(e => {
    const a = light(getComputedStyle(e).color), b = light(ground(e));
    return [e.textContent.slice(0, 30), (Math.max(a, b) + .05) / (Math.min(a, b) + .05)] }).filter(x => x[1] < 4.5);
})()
"""
