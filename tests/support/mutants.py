"""The operations written once more in another way, right without a fault named, and wrong in one named way each.

The right version must pass the contract that the wrong ones fail: a contract that fails everything proves nothing.
"""

import torch
from torch import Tensor

from snn_delays.ops import ATan

LIF_MUTATIONS = (
    "hard reset for soft", "soft reset for hard", "initial state ignored", "initial state's gradient missing",
    "final state one step early", "final state before reset", "threshold gradient missing",
    "threshold gradient missing in the soft reset", "threshold gradient of the wrong sign", "decay gradient missing",
    "decay gradient missing in the input gain", "reset always attached", "reset always detached",
    "reset one step late", "always strict", "never strict", "input never decayed", "input always decayed",
    "v_reset taken for zero in the leak", "v_reset taken for zero in the reset", "soft reset to one",
    "surrogate twice as high", "surrogate always arctangent", "straight through", "lanes over 512 silent",
    "last step's gradient lost", "final state's gradient ignored", "writes into its input",
    "NaN is no spike", "NaN is a spike", "an infinite membrane is never reset",
)  # fmt: skip


def mutant_lif(mutation: str | None = None):
    """LIF with the surrogate's gradient taken by autograd from its primitive."""
    assert mutation is None or mutation in LIF_MUTATIONS

    def wrong(name: str) -> bool:
        assert name in LIF_MUTATIONS
        return mutation == name

    def run(
        current: Tensor, v0: Tensor | None = None, *, decay: Tensor, threshold: Tensor, v_reset: float, reset: str,
        detach_reset: bool, decay_input: bool, strict: bool, surrogate,
    ):  # fmt: skip
        rest = current.new_full(current.shape[1:], v_reset)
        v = rest if v0 is None or wrong("initial state ignored") else v0
        v = v.detach() if wrong("initial state's gradient missing") else v
        soft = (reset == "soft" or wrong("soft reset for hard")) and not wrong("hard reset for soft")
        strict = (strict or wrong("always strict")) and not wrong("never strict")
        detach = (detach_reset or wrong("reset always detached")) and not wrong("reset always attached")
        scaled = (decay_input or wrong("input always decayed")) and not wrong("input never decayed")
        surrogate = ATan() if wrong("surrogate always arctangent") else surrogate
        gain = 1 - (decay.detach() if wrong("decay gradient missing in the input gain") else decay)
        decay = decay.detach() if wrong("decay gradient missing") else decay
        theta = threshold.detach() if wrong("threshold gradient missing") else threshold
        theta = 2 * theta.detach() - theta if wrong("threshold gradient of the wrong sign") else theta
        leak_to = 0.0 if wrong("v_reset taken for zero in the leak") else v_reset
        reset_to = 0.0 if wrong("v_reset taken for zero in the reset") else v_reset
        if wrong("writes into its input"):
            current.data.mul_(1 + 1e-3)
        spikes, before, late = [], v, torch.zeros_like(v)
        for t in range(current.shape[0]):
            x = current[t].detach() if wrong("last step's gradient lost") and t == len(current) - 1 else current[t]
            h = leak_to + decay * (v - leak_to) + (gain * x if scaled else x)
            u = h - theta
            smooth = u if wrong("straight through") else surrogate.primitive(u)
            smooth = 2 * smooth if wrong("surrogate twice as high") else smooth
            smooth = smooth + torch.where(u.isnan(), u, 0) ** 2  # a clamp has no gradient at NaN
            s = torch.where(u.isnan(), u, (u > 0 if strict else u >= 0).to(u.dtype) + (smooth - smooth.detach()))
            if wrong("NaN is no spike") or wrong("NaN is a spike"):
                s = s.nan_to_num(float(wrong("NaN is a spike")))
            if wrong("lanes over 512 silent"):
                s = s * (torch.arange(s.numel()).view(s.shape) < 512)
            acting = s.detach() if detach else s
            acting, late = (late, acting) if wrong("reset one step late") else (acting, late)
            step = theta.detach() if wrong("threshold gradient missing in the soft reset") else theta
            step = 1.0 if wrong("soft reset to one") else step
            left = h - step * acting if soft else h + acting * (reset_to - h)
            if not soft and not wrong("an infinite membrane is never reset"):
                left = torch.where(h.isinf(), torch.where(h > 0, reset_to, h), left)
            before, v = (h if wrong("final state before reset") else v), left
            spikes.append(s)
        if wrong("final state one step early") or wrong("final state before reset"):
            v = before
        if wrong("final state's gradient ignored"):
            v = v.detach()
        return (torch.stack(spikes) if spikes else current * 1), v

    return run


INTEGRATOR_MUTATIONS = (
    "initial state ignored", "initial state's gradient missing", "decay gradient missing", "input never decayed",
    "decay gradient missing in the input gain", "final state one step early", "final state's gradient ignored",
    "output one step late",
)  # fmt: skip


def mutant_integrator(mutation: str | None = None):
    """Leaky integrator as one product with the matrix of powers ``decay^(t - s)``."""
    assert mutation is None or mutation in INTEGRATOR_MUTATIONS

    def run(current: Tensor, v0: Tensor | None = None, *, decay: Tensor, decay_input: bool):
        steps = current.shape[0]
        v0 = current.new_zeros(current.shape[1:]) if v0 is None else v0
        v0 = v0 * 0 if mutation == "initial state ignored" else v0
        v0 = v0.detach() if mutation == "initial state's gradient missing" else v0
        gain_decay = decay.detach() if mutation == "decay gradient missing in the input gain" else decay
        if decay_input and mutation != "input never decayed":
            current = (1 - gain_decay) * current
        decay = decay.detach() if mutation == "decay gradient missing" else decay
        now = torch.arange(steps)
        lag = now[:, None] - now
        powers = torch.where((lag >= 0)[..., None], decay ** lag.clamp(min=0)[..., None], torch.zeros(()).to(decay))
        parts = torch.where((lag >= 0)[..., None, None], powers[:, :, None] * current, 0)
        trace = parts.sum(1) + decay ** (now + 1)[:, None, None] * v0
        final = trace[-1] if steps else v0
        if mutation == "final state one step early" and steps > 1:
            final = trace[-2]
        if mutation == "output one step late":
            trace = torch.cat([v0[None], trace])[:steps]
        return trace, final.detach() if mutation == "final state's gradient ignored" else final

    return run


DELAY_MUTATIONS = (
    "delay reversed", "one step late", "taps not normalised", "taps normalised over an endless window",
    "history ignored", "history's gradient missing", "final history one step early", "sigma gradient missing",
    "delay gradient missing", "weight gradient missing", "input gradient missing", "second synapse ignored",
    "one delay for all inputs", "sigma twice as wide", "delay rounded", "slope of integer delays towards longer ones",
    "NaN taken for zero", "zero times what is to come",
)  # fmt: skip


def mutant_delay(mutation: str | None = None):
    """Delay layer by windows of the input, taps written out from their table."""
    assert mutation is None or mutation in DELAY_MUTATIONS

    def wrong(name: str) -> bool:
        assert name in DELAY_MUTATIONS
        return mutation == name

    def run(
        x: Tensor, weight: Tensor, delay: Tensor, sigma: Tensor | None, history: Tensor | None, *,
        max_delay_steps: int, taps: str,
    ):  # fmt: skip
        longest, (steps, batch, inputs) = max_delay_steps, x.shape
        history = x.new_zeros(longest, batch, inputs) if history is None else history
        line = torch.cat([history, x])
        final = line[steps:] if not wrong("final history one step early") or not steps else line[steps - 1 : -1]
        if wrong("history ignored"):
            history = history * 0
        if wrong("history's gradient missing"):
            history = history.detach()
        source = torch.cat([history, x.detach() if wrong("input gradient missing") else x])
        weight = weight.detach() if wrong("weight gradient missing") else weight
        delay = delay.detach() if wrong("delay gradient missing") else delay
        delay = longest - delay if wrong("delay reversed") else delay
        delay = delay + 1 if wrong("one step late") else delay
        delay = delay + (delay.round() - delay).detach() if wrong("delay rounded") else delay
        sigma = sigma.detach() if wrong("sigma gradient missing") else sigma
        sigma = 2 * sigma if wrong("sigma twice as wide") else sigma
        delay = delay.expand(weight.shape)
        if wrong("one delay for all inputs"):
            delay = delay[:, :1].expand(weight.shape)
        if wrong("second synapse ignored"):
            weight = weight * (torch.arange(weight.shape[2]) < 1)
        reach = longest + 60 if wrong("taps normalised over an endless window") else longest
        low = -60 if wrong("taps normalised over an endless window") else 0
        k = torch.arange(low, reach + 1).to(delay)
        distance = (k - delay[..., None]).abs()
        width = sigma.expand(weight.shape)[..., None]
        if taps == "linear":
            up = (delay.floor() + 1 if wrong("slope of integer delays towards longer ones") else delay.ceil()).detach()
            share = up - delay
            hat = (k == up[..., None]) * (1 - share)[..., None] + (k == up[..., None] - 1) * share[..., None]
        else:
            hat = {
                "gaussian": lambda: (-(distance**2) / (2 * width**2)).exp(),
                "triangle": lambda: (1 + width - distance).clamp(min=0),
                "linear_normalized": lambda: (1 - distance).clamp(min=0),
            }[taps]()
            # A clamp passes a gradient at its bound, where these taps, as DCLS's, have none.
            hat = torch.where(hat > 0, hat, torch.zeros_like(hat))
            hat = hat if wrong("taps not normalised") else hat / (hat.sum(-1, keepdim=True) + 1e-7)
        hat = hat[..., (k >= 0) & (k <= longest)]
        if not steps:
            return x.new_zeros(0, batch, weight.shape[0]), final
        if wrong("NaN taken for zero"):
            source = source.nan_to_num()
        if wrong("zero times what is to come"):  # as through a transform
            source = source + 0 * source.sum(0)
        windows = source.unfold(0, longest + 1, 1).flip(-1)
        return torch.einsum("tbik,oick->tbo", windows, hat * weight[..., None]), final

    return run
