"""The OpenAPI document's texts on the service as a whole and on each group of operations."""

DESCRIPTION = """
metagait tells who is walking. A walk is a sequence of silhouettes: one person, white on black, one
picture per frame. Enrol walks of the people you know with `POST /enroll`, then ask with
`POST /identify` who another walk is of.

**Distances** are Euclidean: smaller is nearer. The answer is `match`, `no_match` or `inconclusive`,
with the threshold that decided.

**Galleries.** One service may hold several galleries of people. Name one in the query
(`?gallery=lab`). Without it, the service's own gallery is used.

**Keys.** If the service has API keys, send yours as `Authorization: Bearer mg_…`. Each operation
names the scope that the key needs.

**Errors** are problems as in RFC 9457 (`application/problem+json`) with a stable `code`. Each
status lists its codes for all operations together. After a 429, a 503, or a 409 `request_in_work`,
wait for the seconds in `Retry-After` and send the same request again.

**Sending twice.** A POST with an `Idempotency-Key` is worked on once: sent again, it gets the first
answer.

The examples are answers that the service gave.
"""
TAGS = [
    {
        "name": "walks",
        "description": "Enrol walks, and ask who a walk is of. Walks are sent as a form or as a "
        "file, never as JSON.",
    },
    {
        "name": "people",
        "description": "The people who are enrolled and their samples: list them, look at them, "
        "and erase them for good.",
    },
    {
        "name": "gallery",
        "description": "Galleries as a whole: their settings, the threshold, and moving to another "
        "model.",
    },
    {
        "name": "health",
        "description": "Whether the service works, what it runs, and figures to watch.",
    },
]
