"""What can go wrong in the model room.

ModelError
├── SilhouetteError   frames that hold no usable walk
├── ModelFileError    an ONNX file that is not one of ours, or is damaged
├── ProviderError     an engine, provider or precision that was asked for and does not run
├── EncodeError       walks an encoder cannot take (shape, dtype, length)
├── ConfigError       a training configuration with a wrong or unknown key
├── DatasetError      a dataset folder that cannot be read as the layout says
├── TrainingError     a training whose loss is no number any more
└── ExportError       a model file that cannot be written, or is not what it was made from
"""


class ModelError(Exception):
    """Any error of this package; its text is a sentence for the person who reads it."""

    for_people = True


class SilhouetteError(ModelError):
    """The frames hold no usable walk."""


class ModelFileError(ModelError):
    """The ONNX file is not one of ours, or is damaged."""


class ProviderError(ModelError):
    """The engine, execution provider or precision that was asked for does not run here."""


class EncodeError(ModelError):
    """The walks given to an encoder have a wrong shape, dtype or length."""


class ConfigError(ModelError):
    """A training configuration has a wrong or unknown key."""


class DatasetError(ModelError):
    """A dataset folder cannot be read as its layout says."""


class TrainingError(ModelError):
    """The loss of a training is no number any more, so that it cannot go on."""


class ExportError(ModelError):
    """The model file cannot be written, or gives other embeddings than what it was made from."""
