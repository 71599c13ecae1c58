"""Generates the silhouettes of walks from a subject's number.

Every number is drawn from a random stream identified by the seed, the subject, the condition and,
where relevant, the view. A walk is therefore the same whatever else is generated, in any order and
with any number of workers. Its body moves only once, and all cameras see the same movement.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import ConfigError
from model.silhouettes import align
from model.walkers.body import Body, draw_body
from model.walkers.camera import place_camera
from model.walkers.kinematics import MEAN_SPEED, Style, draw_session, draw_style, joint_angles
from model.walkers.outfits import draw_outfit
from model.walkers.pose import pose_walk
from model.walkers.render import fill, hulls
from model.walkers.rings import Surface
from model.walkers.seeds import Stream, stream
from model.walkers.segmentation import draw_segmenter, segment
from model.walkers.settings import CONDITIONS, VIEWS, WalkerSettings
from model.walkers.surface import build_surface

# A whole walk extends this far (m) on both sides of the middle, so the body stays in the picture.
_HALF_PATH = 1.75
# Factor by which sessions in a coat differ more.
_COAT_SESSION = 1.5
_DROPPED_FRAMES = 0.02


@dataclass(frozen=True)
class Subject:
    """A walker: body and gait style."""

    body: Body
    style: Style


@dataclass(frozen=True)
class Casting:
    """Whose body and clothes, and whose gait style, a walk uses; None means the subject's own.

    For ablations: with one body for all, only the motion tells who is walking.
    """

    body_of: int | None = None
    style_of: int | None = None


OWN = Casting()
"""Everybody as themselves."""


def draw_subject(subject: int, settings: WalkerSettings, casting: Casting = OWN) -> Subject:
    """Return the walker with a number of 1 or more."""
    if subject < 1:
        raise ConfigError(f"expected a subject number of 1 or more, got {subject}")
    return Subject(
        draw_body(stream(settings.seed, Stream.BODY, casting.body_of or subject)),
        draw_style(stream(settings.seed, Stream.STYLE, casting.style_of or subject)),
    )


def render_walk(
    subject: int, condition: str, view: int, settings: WalkerSettings | None = None
) -> NDArray[np.uint8]:
    """Return one walk as masks uint8 `[T, H, W]` of 0 and 255, as a segmenter would give them."""
    return render_walks(subject, condition, (view,), settings)[view]


def render_walks(
    subject: int,
    condition: str,
    views: Sequence[int],
    settings: WalkerSettings | None = None,
    *,
    casting: Casting = OWN,
) -> dict[int, NDArray[np.uint8]]:
    """Return one walk seen by several cameras at once.

    Args:
        subject: number of the subject, from 1.
        condition: one of `CONDITIONS`.
        views: degrees from 0 (towards the camera) to 180 (away); `VIEWS` are CASIA-B's.
        settings: None for the calibrated benchmark.
        casting: whose body and gait style to use instead of the subject's own.

    Returns:
        masks uint8 `[T, H, W]` for every view, 0 background and 255 body. Frames of different views
        at the same position show the same instant.

    Raises:
        ConfigError: the subject, condition or a view does not exist.

    """
    settings = settings or WalkerSettings()
    check_walk(condition, views)
    surface = _walk_surface(subject, condition, settings, casting)
    return {view: _look(surface, subject, condition, view, settings) for view in views}


def packed_walk(
    subject: int,
    condition: str,
    view: int,
    settings: WalkerSettings | None = None,
    *,
    size: tuple[int, int] = (64, 44),
) -> NDArray[np.uint8]:
    """Return one aligned walk uint8 `[T, H, W]`, as training and the service see it."""
    return align(render_walk(subject, condition, view, settings), size).silhouettes


def check_walk(condition: str, views: Sequence[int]) -> None:
    """Raise ConfigError if the condition or a view does not exist."""
    if condition not in CONDITIONS:
        raise ConfigError(f"expected a condition of {', '.join(CONDITIONS)}; got {condition!r}")
    for view in views:
        if not 0 <= view <= 180:
            raise ConfigError(f"expected views from 0 to 180 degrees, got {view}")


def _walk_surface(
    subject: int, condition: str, settings: WalkerSettings, casting: Casting
) -> Surface:
    walker = draw_subject(subject, settings, casting)
    outfit = draw_outfit(settings.seed, casting.body_of or subject, condition)
    rng = stream(settings.seed, Stream.SESSION, subject, CONDITIONS.index(condition))
    # Sessions in coats differ more than others, as a coat hangs differently every day.
    scale = settings.session_scale * (_COAT_SESSION if outfit.coat is not None else 1.0)
    session = draw_session(rng, walker.style, scale=scale, pace_variety=settings.pace_variety)
    times = _times(session.speed, settings, rng)
    # Stride length grows with speed to the power of 0.59 (69 walks of the CMU set).
    stride = session.stride * walker.body.stature * (session.speed / MEAN_SPEED) ** 0.59
    angles = joint_angles(session, times, stride / session.speed, rng)
    pose = pose_walk(walker.body, outfit, session, times, angles)
    return build_surface(walker.body, outfit, pose)


def _times(speed: float, settings: WalkerSettings, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return frame times in seconds around the middle of the path, with a few frames dropped."""
    fps = settings.fps + settings.pace_variety * (rng.uniform(15, 30) - settings.fps)
    middle = rng.normal(0.0, 0.15)
    if settings.frames is None:
        wanted, middle = max(1, int(2 * _HALF_PATH / speed * fps)), 0.0
    else:
        wanted = settings.frames
    gaps = 1 + (rng.random(wanted) < _DROPPED_FRAMES)
    ticks = np.cumsum(gaps) - 1
    times: NDArray[np.float64] = (ticks - ticks[-1] / 2) / fps + middle / speed
    return times


def _look(
    surface: Surface, subject: int, condition: str, view: int, settings: WalkerSettings
) -> NDArray[np.uint8]:
    keys = (subject, CONDITIONS.index(condition), view)
    camera = place_camera(view, settings, stream(settings.seed, Stream.CAMERA, *keys))
    polygons = hulls(camera.project(surface.rings), surface.pairs)
    masks = fill(polygons, settings.image_size)
    rng = stream(settings.seed, Stream.SEGMENTATION, *keys)
    # Fixed cameras see the same background every day; varied ones never see one twice.
    place = keys if settings.camera_variety > 0 else (view,)
    background = stream(settings.seed, Stream.BACKGROUND, *place)
    segmenter = draw_segmenter(
        rng,
        background,
        size=settings.image_size,
        strength=settings.noise,
        variety=settings.noise_variety,
    )
    return segment(masks, segmenter, rng)


__all__ = [
    "CONDITIONS",
    "VIEWS",
    "Subject",
    "WalkerSettings",
    "draw_subject",
    "packed_walk",
    "render_walk",
    "render_walks",
]
