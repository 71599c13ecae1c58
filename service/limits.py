"""Limits on the content of an upload, and the account of what a walk has used of them."""

from dataclasses import dataclass

from service.errors import FrameTooLargeError, TooManyFramesError


@dataclass(frozen=True)
class Limits:
    """What one upload may hold. Each limit is checked before the decoding that it guards."""

    upload_bytes: int
    frames: int
    frame_pixels: int
    walk_pixels: int
    """Pixels of all frames together."""
    frame_side: int = 8192
    """Longest side: a thin strip of few pixels grows huge once scaled to the model's height."""
    picture_bytes: int = 16 * 1024 * 1024
    """Encoded size of one PNG or JPEG."""
    video_s: int = 30
    """Seconds that decoding a video may take, and half as many of processor time."""


class Account:
    """What one walk has used so far; call `spend` before decoding a frame."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.frames = 0
        self._pixels = 0

    def spend(self, where: str, height: int, width: int) -> None:
        """Count one frame of `height` × `width` pixels.

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
    """Refuse a walk of more than `limits.walk_pixels` in all its frames together."""
    if pixels > limits.walk_pixels:
        raise FrameTooLargeError(
            f"{where}: expected at most {limits.walk_pixels:,} pixels in all frames together, "
            "got more: send smaller frames or fewer"
        )


def check_frame(where: str, height: int, width: int, limits: Limits) -> None:
    """Refuse a frame with no pixels, too many pixels, or too long a side."""
    if height * width > limits.frame_pixels or max(height, width) > limits.frame_side:
        raise FrameTooLargeError(
            f"{where}: expected a frame of at most {limits.frame_pixels:,} pixels and "
            f"{limits.frame_side:,} a side, got {width:,}×{height:,}"
        )
    if height * width == 0:
        raise FrameTooLargeError(f"{where}: expected a frame with pixels, got {width}×{height}")
