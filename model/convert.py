"""`metagait convert`: converts an OpenGait tree of .pkl files to a packed cache. Offline only.

    metagait convert data/CASIA-B-pkl caches/casia-b --workers 8

The files are read by an unpickler that accepts only NumPy arrays. `model.dataset.opengait` says how
the frames differ from those that `metagait pack` makes from pictures.
"""

import argparse

from model.dataset.layouts import grid_of_tree, near_by
from model.dataset.opengait import opengait
from model.errors import DatasetError
from model.pack import configure_packing, pack_with


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `metagait convert`."""
    configure_packing(parser)
    parser.add_argument(
        "--rightward",
        nargs="+",
        default=(),
        metavar="VIEW",
        help="views in which people walk to the right, for instance 000 090; these are mirrored",
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert, and print what was wrong with the data."""
    root = arguments.source
    layout = opengait(arguments.rightward, grid_of_tree(root) if root.is_dir() else None)
    if not root.is_dir() or not layout.fits(root):
        near = near_by(root, layout.fits, "*.pkl") if root.is_dir() else None
        raise DatasetError(
            f"expected {layout.looks} in {root}, got no such file; "
            + (f"try {near}" if near else "pictures go in with `metagait pack`")
        )
    return pack_with(arguments, layout, layout.scan(root))
