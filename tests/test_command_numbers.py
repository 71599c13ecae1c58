"""A number that a command cannot use is refused by name, before the command begins anything."""

import argparse
import importlib
from collections.abc import Iterator

import pytest

from metagait import COMMANDS, main


def arguments_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of a command, with those of its actions."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from arguments_of(inner)
        else:
            yield action


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_no_argument_takes_any_number(command: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[command][0]).configure(parser)
    boundless = [one.dest for one in arguments_of(parser) if one.type in {int, float}]
    assert boundless == []


TOO_LONG = "1" * 5000  # digits, which int() refuses in words of its own


@pytest.mark.parametrize(
    ("words", "expected", "wrong"),
    [
        ("serve --port", "a whole number from 0 to 65535", ["-1", "65536", "http", TOO_LONG]),
        ("identify walk --limit", "a whole number from 1 to 100", ["0", "-5", "101", "2.5"]),
        ("enroll walk --at-once", "a whole number from 1 to 64", ["0", "65", TOO_LONG]),
        (
            "keys create gate --scopes all --per-minute",
            "a whole number from 1 to 1000000",
            ["0", "-1", "1000001", "many"],
        ),
        (
            "keys create gate --scopes all --expires-days",
            "a number of days above 0, up to 36500",
            ["0", "-1", "nan", "inf", "1e9", "soon"],
        ),
        ("calibrate --fpir", "a number from 1e-06 to below 1", ["0", "-1", "1", "nan", "1%"]),
        ("rebuild --threads", "a whole number of 1 or more", ["0", "-1", "1.5", "two"]),
        ("rebuild --batch", "a whole number of 1 or more", ["0", "-1", "1.5", "two"]),
        ("rebuild --workers", "a whole number of 1 or more", ["0", "-1", "1.5", "two"]),
        ("walkers --check --frames", "a whole number from 0 to 1000", ["-1", "1001", "1.5"]),
        ("walkers --check --noise", "a number of 0 or more", ["-0.1", "nan", "inf", "loud"]),
        ("walkers --check --camera-variety", "a number from 0 to 1", ["-0.1", "1.1", "nan"]),
        ("walkers --check --seed", "a whole number of 0 or more", ["-1", "1.5", TOO_LONG]),
        ("walkers --check --views", "a whole number from 0 to 180", ["-18", "181", "side"]),
        ("walkers --check --workers", "a whole number of 1 or more", ["0", "-1", "many"]),
        ("pack a b --workers", "a whole number of 1 or more", ["0", "-1", "many"]),
        ("convert a b --workers", "a whole number of 1 or more", ["0", "-1", "many"]),
        ("train a.yaml --threads", "a whole number of 1 or more", ["0", "-1", "many"]),
        ("train a.yaml --iterations", "a whole number of 1 or more", ["0", "-1", "many"]),
        ("train a.yaml --minutes", "a number above 0", ["0", "-1", "nan", "inf", "long"]),
        ("ablate a.yaml --minutes", "a number above 0", ["0", "-1", "nan", "inf", "long"]),
        ("ablate a.yaml --threads", "a whole number of 1 or more", ["0", "-1", "many"]),
        ("ablate a.yaml --iterations", "a whole number of 1 or more", ["0", "-1", "many"]),
        ("ablate a.yaml --seeds", "a whole number of 0 or more", ["-1", "x"]),
        ("evaluate a.onnx --samples-each", "a whole number of 1 or more", ["0", "-1", "many"]),
        ("export a b --calibrate --fpir", "a number between 0 and 1", ["0", "1", "nan", "1%"]),
        ("compact a b --dimensions", "a whole number of 1 or more", ["0", "-1", "many"]),
        ("compact a b --energy", "a number between 0 and 1", ["0", "1", "nan", "most"]),
    ],
)
def test_a_number_out_of_bounds_is_refused_by_name(
    words: str, expected: str, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    *before, option = words.split()
    for number in wrong:
        with pytest.raises(SystemExit) as ended:
            main([*before, f"{option}={number}"])
        assert ended.value.code == 2
        assert f"expected {expected}, got {number[:40]!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "serve --port 0",
        "identify walk --limit 100",
        "keys create gate --scopes all --per-minute 1 --expires-days 0.5",
        "calibrate --fpir 0.000001",
        "walkers --frames 0 --noise 0 --camera-variety 1 --seed 0 --views 0 180",
        "train a.yaml --minutes 0.1",
        "ablate a.yaml --seeds 0,3",
    ],
)
def test_numbers_at_the_bounds_are_taken(words: str) -> None:
    command, *rest = words.split()
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[command][0]).configure(parser)
    parser.parse_args(rest)
