"""Who may import whom (the rule of the house), read from the source and from a running process."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The modules of the model room that run without torch.
LIGHT = {
    *("model.silhouettes", "model.outline", "model.quality"),
    *("model.encoder", "model.errors"),
}
HEAVY = {"torch", "onnx", "onnxscript"}
# A room's command lines may reach for the encoder, inside the function that needs it.
COMMAND_LINES = {"gallery/commands/rebuild.py"}


def imports(path: Path) -> set[str]:
    """Every module that a file names in an import, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def files(room: str) -> list[Path]:
    found = sorted((ROOT / room).rglob("*.py"))
    assert found, room
    return found


def room(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("path", files("service"), ids=str)
def test_service_uses_the_gallery_by_its_door_and_no_torch(path: Path) -> None:
    for module in imports(path):
        assert room(module) not in HEAVY
        assert room(module) != "model" or module in LIGHT
        assert room(module) != "gallery" or module in {"gallery", "gallery.errors"}


@pytest.mark.parametrize("path", files("gallery"), ids=str)
def test_gallery_knows_neither_http_nor_torch_nor_the_model(path: Path) -> None:
    allowed = LIGHT if path.relative_to(ROOT).as_posix() in COMMAND_LINES else set()
    for module in imports(path):
        assert room(module) not in HEAVY | {"fastapi", "starlette", "httpx", "service"}
        assert room(module) != "model" or module in allowed


@pytest.mark.parametrize("path", files("model"), ids=str)
def test_model_knows_nobody(path: Path) -> None:
    assert not {room(module) for module in imports(path)} & {"service", "gallery"}


@pytest.mark.parametrize("path", files("model/walkers"), ids=str)
def test_walkers_need_numpy_and_opencv_only(path: Path) -> None:
    assert not {room(module) for module in imports(path)} & HEAVY


@pytest.mark.parametrize("path", files("model/dataset"), ids=str)
def test_datasets_need_numpy_and_opencv_only(path: Path) -> None:
    assert not {room(module) for module in imports(path)} & HEAVY


@pytest.mark.parametrize("path", files("benchmarks"), ids=str)
def test_benchmarks_take_the_runtime_from_the_model_which_silences_it(path: Path) -> None:
    assert "onnxruntime" not in imports(path)


def test_pickles_are_read_by_one_command_only() -> None:
    """Service and gallery are held off already; the rest of the model room is here."""
    allowed = {
        "model.dataset.unpickle": {"model/dataset/opengait.py"},
        "model.dataset.opengait": {"model/convert.py"},
        "pickle": {"model/dataset/unpickle.py"},
    }
    for path in (p for name in ("model", "gallery", "service") for p in files(name)):
        name = path.relative_to(ROOT).as_posix()
        for module in imports(path) & set(allowed):
            assert name in allowed[module]


@pytest.mark.parametrize(
    "module",
    ["service.app", "service.serve", "gallery.commands.rebuild", "model.encoder", "metagait"],
)
def test_serving_never_loads_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit(bool({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0
