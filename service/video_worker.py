"""Decodes one silhouette video in its own process, which may crash, hang or demand too much.

    python -I -m service.video_worker FILE FRAMES FRAME_PIXELS SECONDS

It writes each frame to standard output as height and width, both uint16 little-endian, and the
mask, 0 or 255 per pixel. The exit status is 1 if it is not a video, and 2 at a limit.
"""

import os
import resource
import struct
import sys

MEMORY_BYTES = 2 * 1024**3
NO_VIDEO, TOO_MUCH = 1, 2
HEAD = struct.Struct("<HH")
_BODY = 127


def main(path: str, frames: int, frame_pixels: int, seconds: int) -> int:
    """Limit this process, then load the decoder and decode; returns the exit status."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A container may refer to other files and hosts: let the decoder open local files only.
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "protocol_whitelist;file|threads;1"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    return _decode(path, frames, frame_pixels)


def _decode(path: str, frames: int, frame_pixels: int) -> int:
    import cv2

    cv2.setNumThreads(1)
    video = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    if not video.isOpened():
        return NO_VIDEO
    claimed = video.get(cv2.CAP_PROP_FRAME_WIDTH) * video.get(cv2.CAP_PROP_FRAME_HEIGHT)
    if claimed > frame_pixels:
        return TOO_MUCH
    # One more than allowed, so that the reader notices that there are too many.
    for _ in range(frames + 1):
        is_there, picture = video.read()
        if not is_there:
            break
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture
        height, width = grey.shape
        if height * width > frame_pixels:
            return TOO_MUCH
        sys.stdout.buffer.write(HEAD.pack(height, width))
        sys.stdout.buffer.write(((grey > _BODY).astype("uint8") * 255).tobytes())
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *(int(value) for value in sys.argv[2:5])))
