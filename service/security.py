"""Browser security: what our pages may load, and which pages may change something here.

The service trusts its network, but a browser in that network also visits other sites. Such a site
could post a form to the service, even if it cannot read the answer. So a request that changes
something is refused if its Origin header (RFC 6454), set by the browser alone, names another one.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from service.errors import CrossOriginError
from service.middleware import HttpMiddleware, at_start
from service.problems import answer, kind_of

_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": _PAGE_POLICY,
}


class Security(HttpMiddleware):
    """ASGI middleware: adds safe headers to every answer, and refuses changes by other sites."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a change that another site's page asks for; have all else answered."""

        def add_headers(message: Message) -> None:
            MutableHeaders(scope=message).update(safe_headers(scope["path"]))

        send = at_start(send, add_headers)
        if scope["method"] not in _HARMLESS and _is_foreign(Headers(scope=scope)):
            error = CrossOriginError(
                "expected a request of this service's own page or of a program"
            )
            await answer(kind_of(error), str(error))(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_foreign(headers: Headers) -> bool:
    try:
        names = [urlsplit(origin).netloc for origin in headers.getlist("origin")]
    except ValueError:
        return True
    return any(name != headers.get("host") for name in names)


def safe_headers(path: str = "") -> dict[str, str]:
    """Return the headers that tell browsers and proxies how to treat an answer."""
    # Browsers must check the page's files each time, or an old script meets a new service.
    return {**_HEADERS, "Cache-Control": "no-cache" if path.startswith("/web/") else "no-store"}
