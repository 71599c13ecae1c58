"""Walks for schemathesis: a "binary" string is any bytes to it, and any bytes are no walk.

Loaded by schemathesis as its hooks (see tests/conformance.py); with these, what a schema calls
valid is valid, so that what lies behind the door is tested as well.
"""

import schemathesis
from hypothesis import strategies

from service.packed import MEDIA_TYPE, pack
from tests.fakes import walker

WALKS = [walker(build, 20) for build in (8, 14, 20)]
PACKED = strategies.sampled_from([pack(walk) for walk in WALKS])

# The forms that take few bytes: a failure is printed with all of them.
schemathesis.openapi.format("binary", PACKED)
for kind in (MEDIA_TYPE, "application/zip", "application/octet-stream"):
    schemathesis.openapi.media_type(kind, PACKED)
