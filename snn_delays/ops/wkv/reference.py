"""WKV in plain torch, one step at a time: the definition every other backend is held to."""

import torch
from torch import Tensor

from snn_delays.ops.wkv import WKVState


def run(key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState) -> tuple[Tensor, WKVState]:
    """See :func:`snn_delays.ops.wkv.wkv`."""
    (p, q, o), outputs = state, []
    o = o.detach()
    for k, v in zip(key.unbind(0), value.unbind(0)):
        # The result does not depend on the common exponent n, so no gradient has to pass through it.
        n = torch.maximum(o, bonus + k).detach()
        past, now = torch.exp(o - n), torch.exp(bonus + k - n)
        outputs.append((past * p + now * v) / (past * q + now))
        n = torch.maximum(log_decay + o, k).detach()
        past, now = torch.exp(log_decay + o - n), torch.exp(k - n)
        p, q, o = past * p + now * v, past * q + now, n
    return (torch.stack(outputs) if outputs else value.clone()), WKVState(p, q, o)
