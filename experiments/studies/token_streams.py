"""Streams of tokens in which one lag carries all the information, and the loss that nobody can beat."""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.numbers import plain_numbers
from snn_delays.errors import ConfigError

UNSCORED = -100  # the target that cross-entropy leaves out
Tokens = NDArray[np.int64]


class Optimum(NamedTuple):
    """Lowest possible cross-entropy (nats a token) and highest possible accuracy."""

    loss_nats: float
    accuracy: float


@dataclass(frozen=True)
class TokenStream(ABC):
    """A source of token sequences with a target at every step from ``lag`` on.

    Args:
        tokens: size of the alphabet.

    Raises ConfigError for numbers that cannot be.
    """

    tokens: int = 8

    def __post_init__(self) -> None:
        plain_numbers(self)
        if self.tokens < 2:
            raise ConfigError(f"{type(self).__name__} needs an alphabet of at least 2 tokens, got {self.tokens}")

    @property
    @abstractmethod
    def name(self) -> str:
        """What tables and pictures call it."""

    @property
    @abstractmethod
    def lag(self) -> int:
        """The planted lag, in steps: the least that one must look back. Targets before that step are ``UNSCORED``."""

    @abstractmethod
    def lags(self, longest: int) -> tuple[int, ...]:
        """Every lag up to ``longest`` that helps, in steps; the planted one first."""

    @abstractmethod
    def optimum(self, steps: int, looks: int | None = None) -> Optimum:
        """Of a reader who knows how the stream is made, as the mean over the scored ones of so many steps.

        ``looks``: how many of :meth:`lags` are looked at; None is the whole past.
        """

    def draw(self, sequences: int, steps: int, generator: np.random.Generator) -> tuple[Tokens, Tokens]:
        """Tokens and targets, both int64 ``[time, batch]``. Raises ConfigError where no step would be scored."""
        self._check_steps(steps)
        tokens, targets = self._draw(sequences, steps, generator)
        targets[: self.lag] = UNSCORED
        return tokens, targets

    @abstractmethod
    def _draw(self, sequences: int, steps: int, generator: np.random.Generator) -> tuple[Tokens, Tokens]:
        """Tokens and targets, those before ``lag`` being arbitrary."""

    def _check_steps(self, steps: int) -> None:
        if steps <= self.lag:
            raise ConfigError(f"{self.name} is scored from step {self.lag} on; {steps} steps are too few")


@dataclass(frozen=True)
class FixedLagCopy(TokenStream):
    r"""Say again what came ``copy_lag`` steps ago.

    .. math:: x_t \sim \text{uniform}, \qquad y_t = x_{t - L}

    The optimum is a loss of 0. Whoever cannot look back exactly L steps is left with ``log tokens``.
    """

    copy_lag: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.copy_lag < 1:
            raise ConfigError(f"copy_lag must be at least 1 step, got {self.copy_lag}")

    @property
    def name(self) -> str:
        """The task and its lag."""
        return f"copy, lag {self.copy_lag}"

    @property
    def lag(self) -> int:
        """That of the copy."""
        return self.copy_lag

    def lags(self, longest: int) -> tuple[int, ...]:
        """That of the copy alone."""
        return (self.copy_lag,) if self.copy_lag <= longest else ()

    def optimum(self, steps: int, looks: int | None = None) -> Optimum:
        """No loss and no error."""
        self._check_steps(steps)
        return Optimum(math.log(self.tokens), 1 / self.tokens) if looks == 0 else Optimum(0.0, 1.0)

    def _draw(self, sequences: int, steps: int, generator: np.random.Generator) -> tuple[Tokens, Tokens]:
        tokens = generator.integers(self.tokens, size=(steps, sequences))
        return tokens, np.roll(tokens, self.copy_lag, axis=0)


@dataclass(frozen=True)
class PeriodicStream(TokenStream):
    r"""Predict the next token of a word that is repeated with errors; the word is new in every sequence.

    .. math:: x_t = w_{t \bmod P} \text{ with probability } 1 - q, \text{ else uniform}, \qquad y_t = x_{t + 1}

    with ``w`` uniform. The next token was seen P - 1 steps ago, and every P before; each look is as informative as the
    other, and none suffices.
    """

    period: int = 5
    noise: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.period < 2:
            raise ConfigError(f"period must be at least 2 steps, got {self.period}")
        if not 0 <= self.noise <= 1:
            raise ConfigError(f"noise must be a probability, got {self.noise}")

    @property
    def name(self) -> str:
        """The task and its period."""
        return f"period {self.period}"

    @property
    def lag(self) -> int:
        """P - 1."""
        return self.period - 1

    def lags(self, longest: int) -> tuple[int, ...]:
        """P - 1, 2 P - 1, ..."""
        return tuple(range(self.lag, longest + 1, self.period))

    def optimum(self, steps: int, looks: int | None = None) -> Optimum:
        """The mean of :meth:`optimum_after` over the scored steps, as many looks as the past holds."""
        self._check_steps(steps)
        held = ((step + 1) // self.period for step in range(self.lag, steps))
        often = Counter(past if looks is None else min(past, looks) for past in held)
        each = {n: self.optimum_after(n) for n in often}
        return Optimum(*(sum(often[n] * each[n][i] for n in often) / sum(often.values()) for i in range(2)))

    def optimum_after(self, looks: int) -> Optimum:
        r"""Of Bayes' rule after so many looks at a letter of the word.

        .. math::
            p(s) = \tfrac{1}{A} \sum_a h^{c_a} e^{n - c_a}, \quad p(b \mid s) = p(s b) / p(s), \quad
            h = 1 - q + q / A, \quad e = q / A

        where the n looks ``s`` held token ``a`` ``c_a`` times. The loss is the mean over all s of the entropy of
        p(b | s), the accuracy that of its maximum.
        """
        hit, error = 1 - self.noise * (1 - 1 / self.tokens), self.noise / self.tokens
        loss = accuracy = 0.0
        for counts, ways in _counts(looks, self.tokens):
            seen = np.array(counts)
            word = hit**seen * error ** (looks - seen) / self.tokens  # jointly: the looks, and this letter in the word
            probability = word.sum()
            if probability == 0:
                continue
            following = error + (hit - error) * word / probability
            entropy = -sum(p * math.log(p) for p in following if p > 0)
            loss += ways * probability * entropy
            accuracy += ways * probability * following.max()
        return Optimum(float(loss), float(accuracy))

    def _draw(self, sequences: int, steps: int, generator: np.random.Generator) -> tuple[Tokens, Tokens]:
        word = generator.integers(self.tokens, size=(self.period, sequences))
        stream = word[np.arange(steps + 1) % self.period]
        wrong = generator.random(stream.shape) < self.noise
        stream = np.where(wrong, generator.integers(self.tokens, size=stream.shape), stream)
        return stream[:-1], stream[1:].copy()


def _counts(total: int, places: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Counts of ``places`` tokens in ``total`` looks, falling; and how many sequences have them in any order."""
    for counts in _falling(total, places, total):
        orders = math.factorial(total) // math.prod(math.factorial(count) for count in counts)
        names = math.factorial(places) // math.prod(math.factorial(same) for same in Counter(counts).values())
        yield counts, orders * names


def _falling(total: int, places: int, largest: int) -> Iterator[tuple[int, ...]]:
    if places == 0:
        if total == 0:
            yield ()
        return
    for first in range(min(total, largest), -(-total // places) - 1, -1):
        for rest in _falling(total - first, places - 1, first):
            yield (first, *rest)
