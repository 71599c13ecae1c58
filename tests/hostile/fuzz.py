"""`python -m tests.hostile.fuzz COUNT`: bend the corpus and good walks COUNT times, and read them.

Each input must be read or refused with a RequestError; anything else ends the run with the input's
seed. Deterministic: the same count makes the same inputs.
"""

import io
import random
import sys
from collections.abc import Iterable

from service.errors import RequestError
from service.limits import Limits
from service.packed import pack
from service.uploads import Upload, frames_of
from tests.fakes import jpeg, npy, npz, walker, zipped, zipped_walk
from tests.hostile.corpus import corpus

LIMITS = Limits(upload_bytes=2_000_000, frames=200, frame_pixels=1_000_000, walk_pixels=5_000_000)
_SMALL = 100_000


def seeds() -> list[bytes]:
    """Good walks of every form but video, and the small files of the corpus that are no video."""
    walk = walker(10, 6)
    good = [
        npy(walk),
        npz(a=walk),
        zipped_walk(walk),
        pack(walk),
        zipped([("a.jpg", jpeg(walk[0]))]),
    ]
    bad = (one.data for one in corpus() if len(one.data) < _SMALL)
    return [*good * 10, *(data for data in bad if data[4:8] != b"ftyp" and data[8:12] != b"AVI ")]


def bend(data: bytes, chance: random.Random) -> bytes:
    """Change, cut, insert or repeat some bytes."""
    bent = bytearray(data)
    for _ in range(chance.randint(0, 8)):
        place = chance.randint(0, len(bent))
        length = chance.choice((1, 1, 2, 4, 8, 64))
        change = chance.randrange(4)
        if change == 0:
            bent[place : place + length] = chance.randbytes(length)
        elif change == 1:
            del bent[place : place + length]
        elif change == 2:
            bent[place:place] = chance.choice((b"\0", b"\xff")) * length
        else:
            bent[place:place] = bent[place : place + length]
    return bytes(bent)


def read(data: bytes) -> bool:
    """Read a walk to its end; False when it was refused."""
    try:
        for _ in frames_of(Upload(sequence=io.BytesIO(data)), LIMITS):
            pass
    except RequestError:
        return False
    return True


def run(numbers: Iterable[int]) -> int:
    """Bend and read an input for each number; returns how many were read to the end."""
    good, whole = seeds(), 0
    for number in numbers:
        chance = random.Random(number)
        try:
            whole += read(bend(chance.choice(good), chance))
        except Exception as error:
            raise AssertionError(f"input {number} was neither read nor refused") from error
    return whole


if __name__ == "__main__":
    COUNT = int(sys.argv[1])
    print(f"{COUNT} inputs, {run(range(COUNT))} of them read to the end, none crashed")
