"""Adam as PyTorch computes it (Kingma and Ba, ICLR 2015, algorithm 1)."""

from __future__ import annotations

from typing import Mapping

import jittor as jt
import numpy as np

from restore_cli.nets.ops import adam_step


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
        keys, parameters = list(self.parameters), list(self.parameters.values())
        grads = jt.grad(loss, parameters)
        factors = [self.factors.get(key, 1.0) for key in keys]
        moments = [[part[key] for key in keys] for part in (self._first, self._second)]
        if adam_step.usable(parameters):
            made = adam_step.step(parameters, grads, *moments, factors, beta1=b1, beta2=b2,
                                  eps=self.eps, rate=rate, root=root)
            for olds, news in zip(zip(parameters, *moments), made, strict=True):
                for old, new in zip(olds, news, strict=True):
                    old.update(new)
            return
        for p, g, m, v, factor in zip(parameters, grads, *moments, factors, strict=True):
            m.update(b1 * m + (1 - b1) * g)
            v.update(b2 * v + (1 - b2) * g * g)
            p.update(p - rate * factor * m / (jt.sqrt(v) / root + self.eps))

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
