"""`metagait calibrate`: measure the threshold with the gallery's own samples, and store it."""

import argparse
from contextlib import closing

from gallery.calibration import Calibration, calibrate, forget_calibration
from gallery.commands.place import configure_place, place_of
from gallery.errors import CalibrationRefused
from gallery.open_set import LEAST_FPIR, searches_needed
from gallery.store import Store


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "The threshold is kept with the gallery and decides from then on, also in a running "
        "service. It takes at least 3 / FPIR subjects. docs/decision.md explains what it promises."
    )
    configure_place(parser)
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--fpir",
        type=_rate,
        default=0.01,
        help="largest share of searches by strangers that may name somebody (default: 0.01, which "
        "takes 300 subjects)",
    )
    action.add_argument(
        "--forget",
        action="store_true",
        help="measure nothing: drop what was measured, so that the model's default decides again",
    )


def _rate(text: str) -> float:
    try:
        searches_needed(rate := float(text))
    except (ValueError, CalibrationRefused):
        raise argparse.ArgumentTypeError(
            f"expected a number from {LEAST_FPIR:g} to below 1, got {text[:40]!r}"
        ) from None
    return rate


def run(arguments: argparse.Namespace) -> int:
    """Calibrate, and print what the threshold promises."""
    with closing(place_of(arguments).open_existing()) as store:
        print(_forgotten(store) if arguments.forget else sentence(calibrate(store, arguments.fpir)))
    return 0


def _forgotten(store: Store) -> str:
    if forget_calibration(store):
        return f"The gallery {store.name} decides by its model's default again."
    return f"Nothing to do: the gallery {store.name} is not calibrated."


def sentence(measured: Calibration) -> str:
    """Return what was measured as sentences."""
    low, high = measured.threshold_interval
    lines = [
        f"Match at a distance up to {measured.threshold:.4g} (95 %: {low:.4g} to {high:.4g}), "
        f"inconclusive up to {measured.inconclusive_to:.4g}.",
        f"Strangers named: {measured.fpir:.2%} of {measured.nonmated_searches} searches of "
        f"{measured.independent_searches} subjects "
        f"(95 %: {measured.fpir_interval.low:.2%} to {measured.fpir_interval.high:.2%}).",
    ]
    if measured.fnir is None or measured.fnir_interval is None:
        lines.append("Missed: not measured, because no subject has two samples.")
    else:
        lines.append(
            f"Missed: {measured.fnir:.2%} of {measured.mated_searches} searches (95 %: "
            f"{measured.fnir_interval.low:.2%} to {measured.fnir_interval.high:.2%})."
        )
    return "\n".join(lines)
