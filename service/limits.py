"""How much one upload may ask of the service, and an account of what a walk has used of it."""

from dataclasses import dataclass

from service.errors import FrameTooLargeError, TooManyFramesError


@dataclass(frozen=True)
class Limits:
    """What one upload may hold. Every limit is checked before the decoding that it guards."""

    upload_bytes: int
    frames: int
    frame_pixels: int
    walk_pixels: int
    """Pixels of all frames together."""
    frame_side: int = 8192
    """A thin strip may have few pixels, yet grow huge when its height is scaled to the model's."""
    picture_bytes: int = 16 * 1024 * 1024
    """Encoded size of one PNG or JPEG."""
    video_s: int = 30
    """Seconds in which a video is decoded, on the processor in half of them."""


class Account:
    """What one walk has used so far; `spend` before a frame is decoded."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.frames = 0
        self._pixels = 0

    def spend(self, where: str, height: int, width: int) -> None:
        """Count one frame of `height` × `width`.

        Raises:
            FrameTooLargeError: the frame, or the walk with it, has too many pixels.
            TooManyFramesError: the walk has more frames than allowed.

        """
        check_frame(where, height, width, self._limits)
        self.frames += 1
        self._pixels += height * width
        check_frames(self.frames, self._limits)
        check_walk(where, self._pixels, self._limits)


def check_frames(frames: int, limits: Limits) -> None:
    """Refuse a walk of more frames than `limits.frames`."""
    if frames > limits.frames:
        raise TooManyFramesError(
            f"expected at most {limits.frames:,} frames in a walk, got {frames:,} or more: "
            "cut the walk into shorter ones"
        )


def check_walk(where: str, pixels: int, limits: Limits) -> None:
    """Refuse a walk of more than `limits.walk_pixels` in all its frames."""
    if pixels > limits.walk_pixels:
        raise FrameTooLargeError(
            f"{where}: expected at most {limits.walk_pixels:,} pixels in all frames together, "
            "got more: send smaller frames or fewer"
        )


def check_frame(where: str, height: int, width: int, limits: Limits) -> None:
    """Refuse a frame of no pixels, too many pixels, or a side that is too long."""
    if height * width > limits.frame_pixels or max(height, width) > limits.frame_side:
        raise FrameTooLargeError(
            f"{where}: expected a frame of at most {limits.frame_pixels:,} pixels and "
            f"{limits.frame_side:,} a side, got {width:,}×{height:,}"
        )
    if height * width == 0:
        raise FrameTooLargeError(f"{where}: expected a frame with pixels, got {width}×{height}")
