"""How the width of the taps is annealed over the epochs of a recipe."""

from snn_delays.recipes.events import Recipe


def sigma_at(recipe: Recipe, epoch: int) -> float | None:
    r"""Width of the taps, in steps, after so many epochs; None where nothing is spread.

    .. math:: \sigma_e = o + (\sigma_0 - o)\,\left(\frac{\sigma_{end} - o}{\sigma_0 - o}\right)^{\min(e, n) / n}

    with the offset o = 0.27 that DCLS adds to its width parameter, which is what shrinks.
    """
    config, steps = recipe.training, recipe.max_delay_steps - recipe.model.min_delay_steps
    if recipe.model.delays != "learned" or recipe.model.taps not in ("gaussian", "triangle") or steps == 0:
        return None
    offset = config.sigma_offset_steps
    start = (steps + 1) // 2 + offset if config.sigma_start_steps is None else config.sigma_start_steps
    if start <= config.sigma_end_steps:
        return config.sigma_end_steps
    narrowing = config.epochs // 4 if config.sigma_epochs is None else config.sigma_epochs
    done = min(epoch / narrowing, 1.0) if narrowing else 1.0
    return offset + (start - offset) * ((config.sigma_end_steps - offset) / (start - offset)) ** done
