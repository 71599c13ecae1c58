"""`metagait walkers`: generates synthetic walkers, draws them, and checks them."""

import argparse
from pathlib import Path

from model.bars import progress_bar
from model.bounds import count, number, whole
from model.errors import ConfigError
from model.walkers.check import print_check
from model.walkers.packed import write_casia_b, write_packed
from model.walkers.settings import CONDITIONS, MAX_FRAMES, VIEWS, WalkerSettings
from model.walkers.sheet import write_sheet


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        "The walkers are made up: a body of simple shapes, a gait, and the errors of a camera and "
        "of segmentation. The same seed gives the same bytes."
    )
    _add_actions(parser)
    _add_walks(parser)
    _add_making(parser)


def _add_actions(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to do (at least one of these)")
    what.add_argument(
        "--output", type=Path, metavar="DIR", help="write the walks to this new folder"
    )
    what.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE.png",
        help="write a picture with some frames of the first walkers",
    )
    what.add_argument(
        "--check",
        action="store_true",
        help="check that the walkers are as hard to recognise as they should be, by gait energy "
        "images; the exit status is 1 if they are not",
    )


def _add_walks(parser: argparse.ArgumentParser) -> None:
    """Declare who walks, and how they are seen."""
    parser.add_argument(
        "--subjects",
        type=subject_range,
        metavar="A:B",
        help="numbers of the walkers, from A to B, both included (default: 1:20 for --output, 1:4 "
        "for --sheet, 1:50 for --check)",
    )
    parser.add_argument(
        "--conditions",
        nargs="+",
        default=CONDITIONS,
        metavar="C",
        help="walks of each walker: nm-01 to nm-06 (normal), bg-01, bg-02 (with a bag), cl-01, "
        "cl-02 (in a coat) (default: all of them)",
    )
    parser.add_argument(
        "--views",
        nargs="+",
        type=whole(0, 180),
        default=VIEWS,
        metavar="DEGREES",
        help="views, from 0 (towards the camera) to 180 (away from it) (default: the eleven of "
        "CASIA-B)",
    )
    parser.add_argument(
        "--frames",
        type=whole(0, MAX_FRAMES),
        default=30,
        help=f"frames in a walk, up to {MAX_FRAMES}; 0 is the whole way through the picture "
        "(default: 30)",
    )


def _add_making(parser: argparse.ArgumentParser) -> None:
    """Declare how walks are drawn and written."""
    parser.add_argument(
        "--packed",
        action="store_true",
        help="write the packed form that training reads, instead of folders of PNG files",
    )
    parser.add_argument(
        "--seed", type=whole(0), default=0, help="seed of everything that is random (default: 0)"
    )
    parser.add_argument(
        "--workers",
        type=count,
        default=1,
        help="processes; their number does not change the result (default: 1)",
    )
    parser.add_argument(
        "--noise",
        type=number(0),
        default=1.0,
        help="strength of the errors of segmentation; 0 is none (default: 1)",
    )
    parser.add_argument(
        "--camera-variety",
        type=number(0, 1),
        default=0.0,
        metavar="F",
        help="how much cameras, noise, pace and views vary, from 0 (as in the benchmark) to 1 (as "
        "for training) (default: 0)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what was requested; return 1 if a check failed."""
    if not (arguments.output or arguments.sheet or arguments.check):
        raise ConfigError("expected --output, --sheet or --check, got none of them")
    settings = WalkerSettings(
        seed=arguments.seed, frames=arguments.frames or None, noise=arguments.noise
    ).varied(arguments.camera_variety)
    if arguments.sheet:
        write_sheet(arguments.sheet, arguments.subjects or range(1, 5), settings)
    if arguments.output:
        _write(arguments, settings)
    if arguments.check:
        subjects = arguments.subjects or range(1, 51)
        return 0 if print_check(subjects, settings, workers=arguments.workers) else 1
    return 0


def subject_range(text: str) -> range:
    """Parse `A:B` or `A` as the numbers from A to B inclusive."""
    first, _, last = text.partition(":")
    if not first.isdigit() or not (last or first).isdigit():
        raise argparse.ArgumentTypeError(f"expected A:B with two numbers, got {text!r}")
    subjects = range(int(first), int(last or first) + 1)
    if not subjects or subjects[0] < 1:
        raise argparse.ArgumentTypeError(f"expected subjects from 1 upwards, got {text!r}")
    return subjects


def _write(arguments: argparse.Namespace, settings: WalkerSettings) -> None:
    write = write_packed if arguments.packed else write_casia_b
    subjects = arguments.subjects or range(1, 21)
    with progress_bar(len(subjects), "subject") as advance:
        write(
            arguments.output,
            subjects,
            settings,
            conditions=arguments.conditions,
            views=arguments.views,
            workers=arguments.workers,
            progress=advance,
        )
