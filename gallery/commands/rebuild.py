"""`metagait rebuild`: embed a gallery with another model, return to the one before, or drop it.

metagait rebuild --model NEW.onnx      embed, check, switch
metagait rebuild --rollback            return to the generation before
metagait rebuild --drop-old            free what a rollback would need
"""

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tqdm import tqdm

from gallery import next_generation
from gallery.commands.place import Place, configure_place, place_of
from gallery.embedding import Progress
from gallery.rebuild import RebuildReport, rebuild
from gallery.store import Store


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the gallery and what is done with it."""
    configure_place(parser)
    parser.add_argument("--batch", type=int, default=16, help="walks in one encoder call (16)")
    parser.add_argument("--threads", type=int, help="CPU threads of the encoder (every CPU)")
    parser.add_argument(
        "--engine",
        choices=("auto", "onnxruntime", "openvino"),
        default="auto",
        help="what runs the model (the quicker one of those installed)",
    )
    parser.add_argument(
        "--precision",
        choices=("model", "bfloat16"),
        default="model",
        help="arithmetic, as METAGAIT_PRECISION of the service (as the model file is)",
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--model", type=Path, help="the ONNX file to embed with")
    action.add_argument(
        "--rollback", action="store_true", help="return to the generation that was live before"
    )
    action.add_argument(
        "--drop-old", action="store_true", help="delete every generation but the live one"
    )


def run(arguments: argparse.Namespace) -> int:
    """Rebuild, roll back or drop, and say in a line what was done."""
    place = place_of(arguments)
    with closing(place.open_existing()) as store:
        if arguments.rollback:
            model = next_generation.roll_back(store)
            print(f"The gallery {store.name} answers with {model.model_id} again.")
        elif arguments.drop_old:
            dropped = next_generation.drop_others(store)
            print(f"Dropped {dropped} {'generation' if dropped == 1 else 'generations'}.")
        else:
            print(_sentence(_rebuild_with(store, place, arguments)))
    return 0


def _rebuild_with(store: Store, place: Place, arguments: argparse.Namespace) -> RebuildReport:
    from model.encoder import EngineChoice, open_encoder

    choice = EngineChoice(
        engine=arguments.engine, precision=arguments.precision, threads=arguments.threads
    )
    with (
        closing(open_encoder(arguments.model, choice)) as encoder,
        _bar() as progress,
    ):
        # A running service opens the model from there when the generation goes live.
        sha256 = place.model_files.add(arguments.model, encoder.facts.model_id)
        return rebuild(store, encoder, sha256=sha256, batch=arguments.batch, progress=progress)


@contextmanager
def _bar() -> Iterator[Progress]:
    with tqdm(unit="sample", desc="Embedding") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            if bar.n == 0:
                bar.initial = done  # what an earlier run embedded says nothing about the speed
            bar.update(done - bar.n)

        yield progress


def _sentence(report: RebuildReport) -> str:
    if not report.switched:
        return f"Nothing to do: {report.model_id} is live already."
    return (
        f"Embedded {report.embedded} samples, looked {report.checked} up, and switched to "
        f"generation {report.generation} of {report.model_id}."
    )
