"""The typed Python client of a running service, synchronous and asynchronous.

    with Client("http://127.0.0.1:8000", key="mg_…") as client:
        client.enroll("p-017", Path("walks/p-017.zip"))
        print(client.identify(silhouettes).decision)

    async with AsyncClient("http://127.0.0.1:8000") as client:
        print((await client.identify(silhouettes)).decision)

A walk is a file that the service reads, a folder of pictures, a list of pictures, or an array. If
the service is busy (429 or 503), or still at work on the same request (409), the client repeats the
call after the time that it names; after a refused or lost connection, in a second. What must not be
done twice is sent under an Idempotency-Key, the caller's or a new one.
"""

from service.client.blocking import Client
from service.client.looped import AsyncClient

__all__ = ["AsyncClient", "Client"]
