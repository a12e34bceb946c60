"""The person in front of a gate: signs in, and connects an upstream, as a browser would.

Only what a browser does: follows links of the gate's pages, sends their forms, keeps its cookies. The authorization
servers of the suite let everybody in at once, so that there is nothing to fill in there.
"""

import html
import re
import urllib.error
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar

NAME = "person"
PASSWORD = "seven unrelated wooden ladders"


class Refused(Exception):
    """The gate or an authorization server did not do it."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Person:
    def __init__(self, gate: str) -> None:
        self.gate = gate
        cookies = urllib.request.HTTPCookieProcessor(CookieJar())
        self.browser = urllib.request.build_opener(cookies, NoRedirect)

    def sign_up(self, link: str) -> None:
        """Makes the first owner's account with the link that the gate printed."""
        form = fields(self.open(link)) | {"name": NAME, "password": PASSWORD}
        self.open(f"{self.gate}/console/setup", form)

    def connect(self, page: str) -> None:
        """Connects an upstream, starting at its page."""
        form = fields(self.open(page)) | {"act": "connect"}
        there = re.search(r'content="0;url=([^"]+)"', self.open(page, form))
        if there is None:
            raise Refused("the page leads nowhere")
        back = self.leads_to(html.unescape(there[1]))
        if not back.startswith(f"{self.gate}/oauth/callback?"):
            raise Refused(f"the authorization server leads to {back}")
        self.open(back)

    def open(self, url: str, form: dict[str, str] | None = None) -> str:
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        request = urllib.request.Request(url, data, {"Origin": self.gate} if form else {})
        try:
            with self.browser.open(request, timeout=30) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            if error.code in (302, 303):
                return ""
            said = " ".join(re.sub(r"<[^>]+>", " ", error.read().decode()).split())
            raise Refused(f"{url}: HTTP {error.code}: {said}") from error

    def leads_to(self, url: str) -> str:
        """Where another site sends the browser. Our cookies do not go there: it is another origin."""
        try:
            with urllib.request.build_opener(NoRedirect).open(url, timeout=30) as answer:
                raise Refused(f"the authorization server answered HTTP {answer.status}")
        except urllib.error.HTTPError as error:
            location = error.headers.get("Location")
            if location is None:
                raise Refused(f"the authorization server answered HTTP {error.code}") from error
            return location


def fields(page: str) -> dict[str, str]:
    """The hidden fields of a page's form."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)
    if not found:
        raise Refused("the page has no form")
    return {name: html.unescape(value) for name, value in found}
