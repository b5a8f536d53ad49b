"""The gate answers only requests of pages that this server served itself, under one of its own names.

Another site could let its own name point to this machine (DNS rebinding) and then read all answers. Its requests carry that
name in the Host header. So only names that nobody can redirect are allowed: addresses, localhost, and the name given to
`--host`. Ordinary requests from another site's page carry that site in the Origin header.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # The page loads nothing from other sites, and no other page may embed it.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Gate:
    """An ASGI application that passes allowed requests on to another one."""

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
