"""The `metagait` command: the single entry point for every subcommand of the project.

Each subcommand is a module in the package that does the work, with two functions:
`configure(parser)` declares the arguments, and `run(arguments)` does the work and returns the exit
status. A module is imported only when its subcommand is the one asked for, so `metagait serve`
never loads torch.
"""

import argparse
import importlib
import os
import select
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

COMMANDS = {
    "serve": ("service.serve", "start the HTTP service"),
    "keys": ("service.commands.keys", "make, list and revoke API keys"),
    "enroll": ("service.commands.enroll", "enrol a walk, or a folder of walks, over HTTP"),
    "identify": ("service.commands.identify", "identify a walk, or a folder of walks, over HTTP"),
    "rebuild": ("gallery.commands.rebuild", "move a gallery to another model, or back"),
    "calibrate": ("gallery.commands.calibrate", "measure the threshold with the gallery's samples"),
    "gallery": ("gallery.commands.settings", "show, set, list, make and delete galleries"),
    "backup": ("gallery.commands.backup", "write the whole store to one file"),
    "restore": ("gallery.commands.restore", "fill an empty store from a backup"),
    "audit": ("gallery.commands.audit", "verify or export the log of who did what"),
    "consent": ("gallery.commands.consent", "list consents, or those that have expired"),
    "erase": ("gallery.commands.erase", "erase a person or a sample, and print the receipt"),
    "scrub": ("gallery.commands.scrub", "wipe what was deleted from a large database's files"),
    "masterkey": ("gallery.commands.masterkey", "make, apply or change the encryption key"),
    "walkers": ("model.walkers.command", "make synthetic walkers in CASIA-B layout"),
    "pack": ("model.pack", "pack a dataset, for training and evaluation"),
    "convert": ("model.convert", "pack a dataset that OpenGait wrote as .pkl files"),
    "train": ("model.train", "train a network from a configuration"),
    "ablate": ("model.ablate", "train and score every row of an ablation, in one table"),
    "evaluate": ("model.evaluate", "print how good models are: closed and open set"),
    "plot": ("model.plots.command", "draw pictures of models and trainings"),
    "export": ("model.export", "write a checkpoint as ONNX, or an ONNX file in another form"),
    "quantise": ("model.quantise", "write an ONNX file that convolves in 8-bit integers"),
    "halve": ("model.halve", "write an ONNX file that convolves in 16-bit floats, for a GPU"),
    "compact": ("model.compact", "write an ONNX file with shorter embeddings"),
}

_INTERRUPTED = 130
"""The exit status after Ctrl-C."""
_ROOMS = frozenset({"gallery", "model", "service"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status.

    Errors meant for people are printed as one line and return 2. An interrupt returns 130, and a
    closed output pipe 141.
    """
    _replace_closed_streams()
    words = sys.argv[1:] if argv is None else argv
    asked = next((word for word in words if word in COMMANDS), None)
    try:
        parser = _parser(asked)
    except KeyboardInterrupt:  # importing torch takes seconds
        return _INTERRUPTED
    except ModuleNotFoundError as error:
        print(_missing(str(asked), error), file=sys.stderr)
        return 2
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return 2
    return _run(arguments)


def _replace_closed_streams() -> None:
    """Read from and print into nothing where the caller has closed a stream (`>&-`).

    Python has None there. Its number would go to the next file that is opened, a database for
    instance, with all that libraries print.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _parser(asked: str | None) -> argparse.ArgumentParser:
    """Build the parser: every subcommand, but only the requested one with its arguments."""
    parser = argparse.ArgumentParser(
        prog="metagait",
        description="Recognises people by the way they walk.",
        epilog="`metagait COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"metagait {_version()}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        described = f"{summary[0].upper()}{summary[1:]}."
        subparser = subparsers.add_parser(name, help=summary, description=described)
        if name == asked:
            importlib.import_module(module).configure(subparser)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    room = importlib.import_module(COMMANDS[arguments.command][0])
    try:
        status: int = room.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        if not _discard_output_if_unread():
            raise
        return 141
    except ModuleNotFoundError as error:
        print(_missing(arguments.command, error), file=sys.stderr)
        return 2
    except OSError as error:
        # A full disk or an unwritable folder is something the user can fix, so no traceback.
        print(f"metagait {arguments.command}: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        return _failed(arguments.command, error)
    return status


def _failed(command: str, error: Exception) -> int:
    """Return the status of an interrupt or of an error meant for people; raise any other again."""
    if _was_interrupted(error):
        return _INTERRUPTED
    if not getattr(error, "for_people", False):
        raise error
    print(f"metagait {command}: {error}", file=sys.stderr)
    return 2


def _was_interrupted(error: BaseException) -> bool:
    """Tell whether an interrupt caused the error: torch catches those, and raises its own."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    return seen is not None


def _discard_output_if_unread() -> bool:
    """Discard further output if its reader has gone, as `head` does; return whether it has.

    Without that, Python would fail once more on exit, when it flushes what is left.
    """
    printed = sys.stdout.fileno()
    asked = select.poll()
    asked.register(printed, 0)
    if not asked.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), printed)
    return True


def _missing(command: str, error: ModuleNotFoundError) -> str:
    """Say which extra installs a missing package; raise if the missing module is one of ours."""
    if (error.name or "").partition(".")[0] in _ROOMS:
        raise error
    return (
        f"metagait {command}: expected the package {error.name!r}, which is not installed here: "
        "the extra `train` has what trains, evaluates and writes models, and `cpu` what serves: "
        "`.venv/bin/python -m pip install -c constraints.txt -e '.[cpu,train]'` in the checkout"
    )


def _version() -> str:
    try:
        return version("metagait")
    except PackageNotFoundError:
        return "0, of a tree that is not installed"


if __name__ == "__main__":
    sys.exit(main())
