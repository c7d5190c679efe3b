"""Sizes of the cases: those that are timed, and small ones for their tests."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LanguageSizes:
    """Shapes of the language models. ``texts``: context and batch of each training step that is timed.

    ``positions``: where the cost of one more token is measured. ``engines``: layers, features and batch where the
    compiled step of a token is. The checks in float64 run on ``check_layers`` layers
    of ``check_features`` and on ``check_context`` tokens, those in float32 on ``check_timed`` tokens of each sample.
    """

    tokens: int = 256
    features: int = 128
    layers: int = 4
    heads: int = 4
    texts: tuple[tuple[int, int], ...] = ((256, 8), (256, 16), (1024, 4), (4096, 1))
    positions: tuple[int, ...] = (10, 100, 1000, 10_000)
    engines: tuple[tuple[int, int, int], ...] = ((8, 256, 1), (8, 256, 16), (4, 128, 1), (4, 128, 16))
    repeats: int = 20
    check_layers: int = 2
    check_features: int = 24
    check_context: int = 50
    check_timed: int = 128


@dataclass(frozen=True)
class MapSizes:
    """The network of the recipes of N-MNIST, with a longer window. ``side``: rows and columns of the sensor."""

    side: int = 34
    maps: tuple[int, ...] = (16, 32)
    hidden: tuple[int, ...] = (128,)
    window: int = 15
    steps: int = 45
    batch: int = 16
    check_side: int = 12
    check_maps: tuple[int, ...] = (4, 5)


@dataclass(frozen=True)
class Sizes:
    """Shapes of every case. ``window`` is K, the number of delay steps; the longest delay is K - 1.

    ``check_batch`` samples and, where all gradients of a whole network are compared, ``check_hidden`` neurons a layer
    are what the checks run on. ``recordings``: how many are read at most. ``epoch_samples``: of an epoch, those of SHD.
    """

    steps: int = 100
    batch: int = 256
    lif_batch: int = 128
    neurons: int = 256
    inputs: int = 140
    hidden: tuple[int, ...] = (256, 256)
    window: int = 25
    long_steps: int = 1127
    long_batch: int = 8
    long_windows: tuple[int, ...] = (64, 128, 256, 512)
    recordings: int | None = None
    epoch_samples: int = 8156
    check_batch: int = 4
    check_hidden: tuple[int, ...] = (24, 24)
    maps: MapSizes = MapSizes()
    language: LanguageSizes = LanguageSizes()


PUBLISHED = Sizes()
TINY = Sizes(
    steps=40, batch=6, lif_batch=4, neurons=16, inputs=14, hidden=(16, 16), long_steps=60, long_batch=3,
    long_windows=(6, 7, 8, 9), recordings=40, epoch_samples=20, check_batch=3, check_hidden=(12, 12),
    maps=MapSizes(side=12, maps=(4, 6), hidden=(8,), window=5, steps=20, batch=3, check_side=10, check_maps=(3, 4)),
    language=LanguageSizes(
        tokens=32, features=16, layers=2, heads=2, texts=((16, 3), (16, 4), (20, 3), (30, 2)), positions=(3, 6, 9, 20),
        engines=((2, 16, 1), (2, 16, 6), (2, 16, 4), (1, 16, 5)),
        repeats=2, check_features=16, check_context=30, check_timed=16,
    ),
)  # fmt: skip
