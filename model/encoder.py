"""Public entry point for inference: opens a model file and embeds walks, on whichever engine.

Everything that belongs to a model (input size, parts, preprocessing, threshold) is read from the
model file itself. What actually runs is checked against what was asked for.
"""

from model.cpus import available_cpus
from model.engines.choosing import EngineChoice, open_encoder
from model.engines.encoder import Encoder, Runtime
from model.engines.onnx_runtime import OnnxEncoder
from model.facts import METADATA_KEY, SHIPPED_MODEL, ModelFacts, Threshold

__all__ = [
    "METADATA_KEY",
    "SHIPPED_MODEL",
    "Encoder",
    "EngineChoice",
    "ModelFacts",
    "OnnxEncoder",
    "Runtime",
    "Threshold",
    "available_cpus",
    "open_encoder",
]
