"""`metagait rebuild`: re-embed a gallery with another model, roll back, or drop old generations.

metagait rebuild --model NEW.onnx      embed, check, switch
metagait rebuild --model NEW.onnx --ray HOST:PORT      the same on a Ray cluster's machines
metagait rebuild --rollback            return to the previous generation
metagait rebuild --drop-old            delete what a rollback would need
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

from tqdm import tqdm

from gallery import next_generation
from gallery.commands.place import Place, configure_place, count, place_of
from gallery.embedding import Progress
from gallery.errors import RebuildRefused
from gallery.on_ray import RayWorkers
from gallery.rebuild import REBUILD, RebuildReport, rebuild
from gallery.store import Store

_BATCH = 16
_OF_MODEL = ("batch", "threads", "engine", "provider", "precision", "ray", "workers")
"""Options of --model only; they have no defaults, to tell whether one was given."""

_LEFT_BEHIND = (
    "\nThe calibration stays with the generation before. Until `metagait calibrate` is run again, "
    "the model's default threshold is used, if it has one."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "A rebuild embeds every sample again, checks the result and switches. A running service "
        "answers from the old generation until then, and follows by itself. If it is interrupted, "
        "run it again: it continues behind what is done."
    )
    configure_place(parser)
    parser.add_argument(
        "--batch", type=count, help=f"walks in one call of the model (default: {_BATCH})"
    )
    parser.add_argument(
        "--threads",
        type=count,
        help="CPU threads of an encoder (default: every CPU; with --ray, 1)",
    )
    parser.add_argument(
        "--engine",
        choices=("auto", "onnxruntime", "openvino"),
        help="what runs the model (default: the faster one of those installed)",
    )
    parser.add_argument(
        "--provider",
        choices=("auto", "cpu", "cuda", "tensorrt"),
        help="what to compute on, the same as METAGAIT_PROVIDER of the service (default: CUDA "
        "if there is a GPU, else the CPU)",
    )
    parser.add_argument(
        "--precision",
        choices=("model", "bfloat16"),
        help="arithmetic, the same as METAGAIT_PRECISION of the service (default: that of the "
        "model file)",
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="embed on the Ray cluster at this address; without one, in processes of this machine",
    )
    parser.add_argument(
        "--workers",
        type=count,
        help="with --ray: number of encoders, of --threads each (default: as many as CPUs allow)",
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--model", type=Path, help="the ONNX file to embed every sample with")
    action.add_argument(
        "--rollback",
        action="store_true",
        help="return to the generation before, and so to its model",
    )
    action.add_argument(
        "--drop-old",
        action="store_true",
        help="delete every generation but the live one; after that there is no rollback",
    )


def run(arguments: argparse.Namespace) -> int:
    """Rebuild, roll back or drop, and print one line about what was done."""
    _require_use(arguments)
    place = place_of(arguments)
    with closing(place.open_existing()) as store:
        if arguments.rollback:
            with _alone(store):
                model = next_generation.roll_back(store)
            print(f"The gallery {store.name} answers with {model.model_id} again.")
        elif arguments.drop_old:
            with _alone(store):
                dropped = next_generation.drop_others(store)
            print(f"Dropped {dropped} {'generation' if dropped == 1 else 'generations'}.")
            store.database.scrub_or_say()
        else:
            print(_rebuild_with(store, place, arguments))
    return 0


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Keep rebuilds out meanwhile: one could switch the gallery, or miss what was dropped."""
    with ExitStack() as stack:
        try:
            stack.enter_context(store.database.alone(REBUILD, store.gallery_id))
        except RebuildRefused as error:
            raise RebuildRefused(
                "expected a gallery that nobody rebuilds now, got one whose rebuild is at work: "
                "wait for its end or stop it, one of a service by DELETE /jobs/{id}"
            ) from error
        yield


def _require_use(arguments: argparse.Namespace) -> None:
    """Refuse options that would have no effect."""
    if arguments.model is None:
        useless = [name for name in _OF_MODEL if getattr(arguments, name) is not None]
        if useless:
            raise RebuildRefused(f"expected --{useless[0]} only together with --model")
    if arguments.workers is not None and arguments.ray is None:
        raise RebuildRefused("expected --workers only together with --ray")


def _rebuild_with(store: Store, place: Place, arguments: argparse.Namespace) -> str:
    from model.encoder import EngineChoice, open_encoder

    # On Ray, one thread per encoder: an encoder per CPU is faster than one encoder on all CPUs.
    threads = arguments.threads or (1 if arguments.ray else None)
    choice = EngineChoice(
        engine=arguments.engine or "auto",
        provider=arguments.provider or "auto",
        precision=arguments.precision or "model",
        threads=threads,
    )
    with ExitStack() as stack:
        encoder = stack.enter_context(closing(open_encoder(arguments.model, choice)))
        spread = None
        if arguments.ray:
            # Every worker uses the engine chosen here, so that the whole gallery is computed alike.
            alike = choice.like(encoder.runtime)
            spread = stack.enter_context(
                RayWorkers(
                    arguments.model,
                    partial(open_encoder, choice=alike),
                    model_id=encoder.facts.model_id,
                    address=arguments.ray,
                    workers=arguments.workers,
                    threads=threads or 1,
                )
            )
        progress = stack.enter_context(_bar())
        # A running service loads the model from this folder once the generation goes live.
        sha256 = place.model_files.add(arguments.model, encoder.facts.model_id)
        report = rebuild(
            store,
            encoder,
            sha256=sha256,
            batch=arguments.batch or _BATCH,
            progress=progress,
            spread=spread,
        )
        return sentence(report, encoder.runtime.engine, encoder.runtime.provider)


@contextmanager
def _bar() -> Iterator[Progress]:
    """Show progress: a bar on a terminal, and in a log a line at each tenth."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    with tqdm(unit="sample", desc="Embedding") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            if bar.n == 0:
                bar.initial = done  # samples of an earlier run must not count as speed
            bar.update(done - bar.n)

        yield progress


def _lines() -> Progress:
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        tenths = 10 * done // max(total, 1)
        if tenths > told:
            told = tenths
            print(f"Embedded {done} of {total} samples", file=sys.stderr, flush=True)

    return progress


def sentence(report: RebuildReport, engine: str, provider: str) -> str:
    """Describe what a rebuild did."""
    if not report.switched:
        return f"Nothing to do: {report.model_id} is live already."
    return (
        f"Embedded {report.embedded} samples with {engine} on {provider}, searched for "
        f"{report.checked} of them as a check, and switched to generation "
        f"{report.generation} of {report.model_id}."
        + (_LEFT_BEHIND if report.leaves_calibration else "")
    )
