"""Who is let in: pages that this server gave out itself, under a name that is its own.

A page from elsewhere could have its own name lead to this machine (DNS rebinding) and then read what it likes. Its requests
carry that name as Host, so only names that nobody can redirect are answered: addresses, localhost, and the one given to
`--host`. Requests that another page sends openly say so in Origin.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Gate"]

HEADERS = {
    # Nothing is loaded from elsewhere, and no other page may show this one.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Gate:
    """An ASGI application in front of another one."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app, self.host = app, host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] == "http" and (refused := self._refused(Headers(scope=scope))):
            await JSONResponse({"error": refused}, 403)(scope, receive, with_headers)
        else:
            await self.app(scope, receive, with_headers)

    def _refused(self, headers: Headers) -> str:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_own(host):
            return "The server answers to localhost, to addresses and to the name given to --host only."
        if origin is not None and urlsplit(origin).netloc != host:
            return "The request comes from another page."
        return ""

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in ("localhost", self.host):
            return bool(name)
        try:
            ip_address(name)
        except ValueError:
            return False
        return True
