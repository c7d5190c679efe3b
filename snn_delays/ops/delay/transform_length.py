"""How long the transforms of the spectral backends are, and how a long sequence is cut."""

import operator
from functools import lru_cache


@lru_cache(maxsize=1024)
def transform_length(steps: int, max_delay_steps: int) -> tuple[int, int]:
    """Length of the transform and number of blocks with the fewest frequencies in all.

    A transform of length ``n`` yields ``n - max_delay_steps`` steps, so short ones waste work when delays are long.
    """
    lengths = [(good_length(steps + max_delay_steps), 1)]
    blocks = 2
    while blocks <= steps and (hop := -(-steps // blocks)) > max_delay_steps:
        lengths.append((good_length(hop + max_delay_steps), blocks))
        blocks += 1
    return min(lengths, key=lambda pair: (pair[0] // 2 + 1) * pair[1])


@lru_cache(maxsize=1024)
def good_length(at_least: int) -> int:
    """Smallest transform length of at least this many steps with no factors but 2 and 3."""
    least, threes, best = max(operator.index(at_least), 1), 1, 0
    while True:
        twos = (-(-least // threes) - 1).bit_length()  # the fewest with which this power of three is long enough
        best = min(best or threes << twos, threes << twos)
        if not twos:
            return best
        threes *= 3
