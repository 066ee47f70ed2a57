"""Who may ask: a browser on this machine that was given the whole address, and no page of another's."""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    # Nothing from elsewhere, no script or style but those of files, and in no other page's frame.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",  # the address has the token in it
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


class Guard:
    """Refuses, with 403 and a line that says why, what does not come from the page itself.

    A foreign ``Host`` is what a page sees that has its own name point to this machine (DNS rebinding); a foreign
    ``Origin`` is another page that sends something here.

    Args:
        inside: What answers the others.
        token: The first part of each path.
        port: Where it is served.
    """

    def __init__(self, inside: Application, token: str, port: int) -> None:
        self.inside, self.token = inside, token
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        if port == 80:
            self.hosts |= {"127.0.0.1", "localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.inside(scope, receive, send)
            return
        if why := self._objection(scope):
            await _refuse(why, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *ours]
            await send(message)

        await self.inside(scope, receive, send_safely)

    def _objection(self, scope: Scope) -> str:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        if headers.get("host", "").lower() not in self.hosts:
            return (
                "This explorer answers under 127.0.0.1 alone. Open the address that cnnzoo explore printed."
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{host}" for host in self.hosts}:
            return "This explorer answers its own page alone. Open the address that cnnzoo explore printed."
        token = scope["path"].split("/")[1] if "/" in scope["path"] else ""
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return "No explorer runs at this address. Open the whole address that cnnzoo explore printed."
        return ""


async def _refuse(why: str, send: Send) -> None:
    body = f"{why}\n".encode()
    headers = {**HEADERS, "content-type": "text/plain; charset=utf-8", "content-length": str(len(body))}
    await send(
        {
            "type": "http.response.start",
            "status": 403,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
