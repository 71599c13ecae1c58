"""The door to the encoder: model file -> embeddings, whichever engine runs it.

Everything that belongs to a model is read from the model's own file: input size, parts,
preprocessing, threshold. What runs is compared with what was asked for.
"""

from model.engines.choosing import EngineChoice, open_encoder
from model.engines.encoder import Encoder, Runtime
from model.engines.onnx_runtime import OnnxEncoder
from model.engines.threads import available_cpus
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
