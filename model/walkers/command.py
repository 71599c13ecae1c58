"""`metagait walkers`: make synthetic walkers, look at them, check them."""

import argparse
from pathlib import Path

from model.bounds import count, number, whole
from model.errors import ConfigError
from model.parallel import progress_bar
from model.walkers.check import print_check
from model.walkers.packed import write_casia_b, write_packed
from model.walkers.settings import CONDITIONS, MAX_FRAMES, VIEWS, WalkerSettings
from model.walkers.sheet import write_sheet


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    what = parser.add_argument_group("what to do, one or more of")
    what.add_argument("--output", type=Path, metavar="DIR", help="write the walks to a new folder")
    what.add_argument("--sheet", type=Path, metavar="FILE.png", help="write a contact sheet")
    what.add_argument(
        "--check",
        action="store_true",
        help="measure GEI nearest neighbour, exit 1 outside its bands",
    )
    parser.add_argument(
        "--subjects", type=subject_range, metavar="A:B", help="from subject A up to B, B included"
    )
    parser.add_argument("--conditions", nargs="+", default=CONDITIONS, metavar="C")
    parser.add_argument("--views", nargs="+", type=whole(0, 180), default=VIEWS, metavar="DEGREES")
    parser.add_argument(
        "--frames",
        type=whole(0, MAX_FRAMES),
        default=30,
        help=f"frames of a walk, up to {MAX_FRAMES}; 0 is the whole way (default 30)",
    )
    parser.add_argument(
        "--packed",
        action="store_true",
        help="write one aligned array instead of a tree of PNG files",
    )
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument(
        "--workers", type=count, default=1, help="processes; the bytes stay the same"
    )
    parser.add_argument(
        "--noise", type=number(0), default=1.0, help="strength of segmentation errors (default 1)"
    )
    parser.add_argument(
        "--camera-variety",
        type=number(0, 1),
        default=0.0,
        metavar="F",
        help="0 the benchmark's cameras, 1 any camera, noise, pace and view (training data)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for; 1 where a check failed."""
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
    """Read `A:B` or `A` as the numbers from A to B, both included."""
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
