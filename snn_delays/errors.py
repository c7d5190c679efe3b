"""The errors a user can meet. Each message names the thing, what was expected, and the remedy."""


class SnnDelaysError(Exception):
    """Base of every error raised on purpose by this package; the command line prints it as one line."""


class ConfigError(SnnDelaysError, ValueError):
    """A recipe or an argument asks for something that does not exist or cannot be."""


class ShapeError(SnnDelaysError, ValueError):
    """A tensor does not have the shape its place requires."""


class BackendUnavailableError(SnnDelaysError, RuntimeError):
    """A backend was asked for by name and cannot serve the call."""


class MissingPackageError(SnnDelaysError, ImportError):
    """An optional package is not installed; the message has the line that installs it."""


class DataError(SnnDelaysError, ValueError):
    """A data file or an array of events is missing, damaged or impossible."""


class SampleIndexError(DataError, IndexError):
    """A sample is asked for by a number that no sample has, or by something that is no number."""


class CheckpointError(SnnDelaysError, RuntimeError):
    """A run folder or a checkpoint cannot be read or written."""


class ExportError(SnnDelaysError, ValueError):
    """A network cannot be made discrete or written in the format asked for."""


class TrainingError(SnnDelaysError, RuntimeError):
    """Training or generation cannot go on: the loss or the logits are no longer finite numbers."""
