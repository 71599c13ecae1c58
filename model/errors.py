"""Exceptions of the model package.

ModelError
├── SilhouetteError   frames that contain no usable walk
├── ModelFileError    an ONNX file that is not one of ours, or is damaged
├── ProviderError     a requested engine, provider or precision that does not run here
├── EncodeError       walks that an encoder cannot take (shape, dtype, length)
├── ConfigError       a training configuration with a wrong or unknown key
├── DatasetError      a dataset folder that cannot be read according to its layout
├── TrainingError     a training run whose loss is no longer finite
└── ExportError       a model file that cannot be written, or does not match its source
"""


class ModelError(Exception):
    """Base class of all errors in this package; the message is a sentence for the user."""

    for_people = True


class SilhouetteError(ModelError):
    """The frames contain no usable walk."""


class ModelFileError(ModelError):
    """The ONNX file is not one of ours, or is damaged."""


class ProviderError(ModelError):
    """The requested engine, execution provider or precision does not run here."""


class EncodeError(ModelError):
    """The walks given to an encoder have a wrong shape, dtype or length."""


class ConfigError(ModelError):
    """A training configuration has a wrong or unknown key."""


class DatasetError(ModelError):
    """A dataset folder cannot be read according to its layout."""


class TrainingError(ModelError):
    """The loss of a training run is no longer finite, so the run cannot continue."""


class ExportError(ModelError):
    """The model file cannot be written, or its embeddings differ from those of its source."""
