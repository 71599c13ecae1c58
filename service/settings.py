"""The service's settings: one frozen class, which the entry points read from `METAGAIT_*`."""

import math
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gallery import IndexChoice, MasterKey, read_master_key
from model.encoder import SHIPPED_MODEL, EngineChoice
from service.errors import SettingsError
from service.limits import Limits

PREFIX = "METAGAIT_"
_DAY_S = 86_400


class Settings(BaseSettings):
    """Everything an operator may choose. Facts of a model are in its model file instead."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", protected_namespaces=()
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    data: Path = Field(Path("data"), description="folder of the gallery's database")
    database: SecretStr | None = Field(
        None, description="SQLAlchemy URL of a PostgreSQL database instead of the data folder"
    )
    database_file: Path | None = Field(
        None, description="file that holds that URL, where the environment should not"
    )
    master_key_file: Path | None = Field(
        None, description="file of the key that silhouettes and embeddings are encrypted under"
    )
    model: Path = Field(SHIPPED_MODEL, description="ONNX model file; default: the shipped weights")
    models: Path | None = Field(
        None, description="folder of model files that `POST /rebuild` may take"
    )
    rebuild_threads: int = Field(
        1, ge=1, description="CPU threads of a rebuild that runs inside the service"
    )
    engine: Literal["auto", "onnxruntime", "openvino"] = Field(
        "auto", description="what runs the model; `auto` takes the quicker one of those installed"
    )
    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto", description="where the model runs; `auto` takes CUDA when there is one"
    )
    precision: Literal["model", "bfloat16"] = Field(
        "model", description="arithmetic: as the model file is, or bfloat16 on OpenVINO"
    )
    mode: Literal["latency", "throughput"] = Field(
        "latency", description="the threads work on one call together, or each on one of its own"
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads of the encoder; default: every CPU there is"
    )
    first_key_file: Path | None = Field(
        None, description="where there is no key at all, `serve` makes one and writes it here"
    )
    gallery: str = Field("main", min_length=1, max_length=64, description="name of the gallery")
    index: Literal["exact", "compact", "gpu", "milvus"] = Field(
        "exact", description="how the gallery is searched; see docs/search.md"
    )
    milvus_url: str | None = Field(
        None, description="Milvus server for the index `milvus`; default: a file in the data folder"
    )
    milvus_token: SecretStr | None = Field(None, description="token, or user:password, for Milvus")
    milvus_index_type: Literal["FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX"] = (
        Field("FLAT", description="how Milvus searches; all but `FLAT` may miss the nearest")
    )
    max_upload_mb: int = Field(64, ge=1, le=4096, description="size of one request body")
    upload_budget_mb: int = Field(
        256, ge=1, description="size of all bodies in work together; more are refused"
    )
    upload_timeout_s: float = Field(60, gt=0, description="time for one body to arrive")
    max_frames: int = Field(
        1000, ge=1, le=100_000, description="frames of a walk; the model's own limit holds as well"
    )
    min_frames: int = Field(5, ge=2, description="usable frames below which a walk is refused")
    conclusive_frames: int = Field(
        13, ge=1, description="usable frames below which a decision is inconclusive"
    )
    window_frames: int = Field(
        200, ge=30, description="frames above which a probe is searched for in windows"
    )
    max_frame_pixels: int = Field(3840 * 2160, ge=1, description="pixels of one frame")
    max_walk_megapixels: int = Field(640, ge=1, description="pixels of all frames of a walk")
    batch_frames: int | None = Field(
        None, ge=1, description="padded frames in one encoder call; default: 32 on a CPU, else 256"
    )
    queue_walks: int = Field(64, ge=1, description="walks in work or waiting; more are refused")
    queue_timeout_s: float = Field(
        10,
        gt=0,
        description="time from a walk's last byte until the encoder begins with it; "
        "one that would wait longer is refused",
    )
    max_connections: int = Field(
        512, ge=1, description="open connections; more are refused, far more closed at once"
    )
    decode_threads: int = Field(2, ge=1, le=64, description="threads that decode and align uploads")
    shutdown_grace_s: float = Field(
        2, ge=0, le=_DAY_S, description="time at SIGTERM in which it is unready and still answers"
    )
    drain_timeout_s: int = Field(
        20, ge=0, le=_DAY_S, description="time for requests in work at shutdown"
    )

    @field_validator("upload_budget_mb")
    @classmethod
    def _holds_one_body(cls, budget: int, info: ValidationInfo) -> int:
        largest = info.data.get("max_upload_mb", 0)
        if budget < largest:
            raise ValueError(f"expected room for one body of {PREFIX}MAX_UPLOAD_MB, {largest}")
        return budget

    def master_key(self) -> MasterKey | None:
        """Read the master key; None if nothing is encrypted.

        Raises:
            WrongMasterKey: the file is missing, not private, or holds no key.

        """
        return None if self.master_key_file is None else read_master_key(self.master_key_file)

    def store(self) -> str | Path:
        """Return where the store is: a URL, which may contain a password, or a folder.

        Raises:
            SettingsError: the file that holds the URL cannot be read, there are two URLs, or what
                is given is none.

        """
        if self.database_file is not None:
            return _url(self._text_of(self.database_file), "DATABASE_FILE")
        given = "" if self.database is None else self.database.get_secret_value()
        return _url(given, "DATABASE") if given else self.data

    def _text_of(self, file: Path) -> str:
        if self.database is not None:
            raise SettingsError(f"expected {PREFIX}DATABASE or {PREFIX}DATABASE_FILE, got both")
        try:
            return file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            # Not the error itself, which for a wrong encoding shows the file's content.
            why = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
            raise SettingsError(
                f"{PREFIX}DATABASE_FILE: expected a database URL in {file}, got: {why}"
            ) from error

    def index_choice(self) -> IndexChoice:
        """Return which index searches the gallery."""
        token = self.milvus_token
        return IndexChoice(
            kind=self.index,
            folder=self.data / "index",
            milvus_url=self.milvus_url,
            milvus_token="" if token is None else token.get_secret_value(),
            milvus_type=self.milvus_index_type,
        )

    def engine_choice(self) -> EngineChoice:
        """Return which engine runs the model."""
        return EngineChoice(
            engine=self.engine,
            provider=self.provider,
            precision=self.precision,
            mode=self.mode,
            threads=self.threads,
            cache=self.data / "engines",
        )

    def limits(self, model_frames: int) -> Limits:
        """Return what one upload may hold, for a model that takes `model_frames` frames."""
        return Limits(
            upload_bytes=self.max_upload_mb * 1024 * 1024,
            frames=min(self.max_frames, model_frames),
            frame_pixels=self.max_frame_pixels,
            walk_pixels=self.max_walk_megapixels * 1_000_000,
            # Nobody waits longer for a walk, and no video of silhouettes takes longer.
            video_s=math.ceil(min(30, self.queue_timeout_s)),
        )


def _url(text: str, name: str) -> str:
    """Refuse what is no URL, without showing it; the store would take it for a folder."""
    if "://" not in text:
        raise SettingsError(
            f"{PREFIX}{name}: expected a URL such as postgresql+psycopg://…, got something else; a "
            f"folder is named in {PREFIX}DATA"
        )
    return text


def load_settings(**given: Any) -> Settings:
    """Read the settings from the environment; values in `given` other than None override it.

    Raises:
        SettingsError: a value cannot be used, or a `METAGAIT_` variable is not a setting.

    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX))
    unknown = [name for name in unknown if name.upper() not in known]
    if unknown:
        raise SettingsError(f"{', '.join(unknown)}: expected one of {', '.join(sorted(known))}")
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(fault) for fault in error.errors())) from error


def _sentence(fault: Any) -> str:
    key = PREFIX + "_".join(str(part) for part in fault["loc"]).upper()
    message = fault["msg"].removeprefix("Value error, ")
    return f"{key}: {message[0].lower()}{message[1:]}, got {fault['input']!r}"
