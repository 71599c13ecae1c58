"""Compare PNG decoders: microseconds per frame, for those that are installed.

    python benchmarks/png.py [--rounds 15]

The input is a walker in 60 pictures of 320×240 pixels, 8-bit grey, as written by OpenCV and by
Pillow. All decoders decode all pictures in turn, round after round, in one thread; a figure is the
median over the rounds, in processor time. A decoder that returns wrong pixels ends the run. The
service uses kornia-rs for such pictures and OpenCV for all others; Pillow, imagecodecs, pyspng and
pywuffs are measured if they are installed.
"""

import argparse
import importlib
import io
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import cv2
import numpy as np
from machine import processors
from numpy.typing import NDArray

from model.tables import markdown
from model.walkers.generate import render_walk
from model.walkers.settings import WalkerSettings

Decode = Callable[[bytes], Any]


def decoders(size: tuple[int, int]) -> Iterator[tuple[str, Decode]]:
    """Yield name and function of each installed decoder."""
    yield "OpenCV", lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    makers: dict[str, Callable[[Any], Decode]] = {
        "kornia_rs": lambda it: lambda data: it.io.decode_image_png_u8(data, size, "mono"),
        "pywuffs": wuffs,
        "imagecodecs": lambda it: it.png_decode,
        "pyspng": lambda it: it.load,
        "PIL.Image": lambda it: lambda data: np.asarray(it.open(io.BytesIO(data))),
    }
    for name, maker in makers.items():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        yield name, maker(module)


def wuffs(module: Any) -> Decode:
    """Set Wuffs up for grey PNG."""
    aux = importlib.import_module("pywuffs.aux")
    config = aux.ImageDecoderConfig()
    config.enabled_decoders = [module.ImageDecoderType.PNG]
    config.pixel_format = module.PixelFormat.Y
    decoder = aux.ImageDecoder(config)
    return lambda data: decoder.decode(data).pixbuf


def by_pillow(frame: NDArray[np.uint8]) -> bytes:
    """Encode a PNG with Pillow, which chooses a filter for each line; OpenCV uses one for all."""
    file = io.BytesIO()
    importlib.import_module("PIL.Image").fromarray(frame).save(file, "PNG")
    return file.getvalue()


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    walk = np.stack(list(render_walk(9001, "nm-01", 90, WalkerSettings(frames=60))))
    written = {
        "written by OpenCV": [cv2.imencode(".png", frame)[1].tobytes() for frame in walk],
        "by Pillow": [by_pillow(frame) for frame in walk],
    }
    found = dict(decoders((walk.shape[1], walk.shape[2])))
    took: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for name, decode in found.items():
            for kind, pictures in written.items():
                began = time.process_time()
                made = [decode(picture) for picture in pictures]
                if number:  # the first round is a warm-up
                    took.setdefault((name, kind), []).append(time.process_time() - began)
                elif not np.array_equal(np.reshape(made, walk.shape), walk):
                    raise SystemExit(f"{name} gives other pixels")
    print(f"{processors()}, microseconds of a frame\n")
    rows = [[name, *(f"{1e6 * median(took[name, k]) / len(walk):.0f}" for k in written)]
            for name in found]  # fmt: skip
    print(markdown([["decoder", *written], *rows]))


if __name__ == "__main__":
    main()
