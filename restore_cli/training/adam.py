"""Adam as PyTorch computes it (Kingma and Ba, ICLR 2015, algorithm 1)."""

from __future__ import annotations

from typing import Mapping

import jittor as jt
import numpy as np


class Adam:
    """Adam with epsilon added after bias correction.

    Jittor's own adds it before, which makes the effective epsilon 31 times larger at the first
    step and moves weights by 3e-5 within a few.

    Args:
        parameters: Vars to train, by state-dict key.
        betas, eps: as in the paper.
        factors: what a parameter's learning rate is multiplied by; 1 where it has none.
    """

    def __init__(self, parameters: Mapping[str, jt.Var], betas=(0.9, 0.999), eps: float = 1e-8,
                 factors: Mapping[str, float] | None = None):
        self.factors = dict(factors or {})
        self.parameters = dict(parameters)
        self.betas, self.eps, self.steps = betas, eps, 0
        self._first = {k: jt.zeros(p.shape, "float32").stop_grad()
                       for k, p in self.parameters.items()}
        self._second = {k: jt.zeros(p.shape, "float32").stop_grad()
                        for k, p in self.parameters.items()}

    def step(self, loss: jt.Var, lr: float) -> None:
        """One update of every parameter by the gradients of `loss`."""
        self.steps += 1
        b1, b2 = self.betas
        rate = lr / (1 - b1**self.steps)
        root = (1 - b2**self.steps) ** 0.5
        for (key, p), g in zip(self.parameters.items(),
                               jt.grad(loss, list(self.parameters.values()))):
            m, v = self._first[key], self._second[key]
            m.update(b1 * m + (1 - b1) * g)
            v.update(b2 * v + (1 - b2) * g * g)
            own = rate * self.factors.get(key, 1.0)
            p.update(p - own * m / (jt.sqrt(v) / root + self.eps))

    def state(self) -> dict[str, np.ndarray]:
        """Moments as arrays, keys ``m/<key>`` and ``v/<key>``."""
        state = {f"m/{k}": m.numpy() for k, m in self._first.items()}
        state.update({f"v/{k}": v.numpy() for k, v in self._second.items()})
        return state

    def restore(self, state: Mapping[str, np.ndarray], steps: int) -> None:
        """Continues from `state()` taken after `steps` updates."""
        for prefix, moments in (("m", self._first), ("v", self._second)):
            for key, moment in moments.items():
                moment.update(jt.array(state[f"{prefix}/{key}"]))
        self.steps = steps
