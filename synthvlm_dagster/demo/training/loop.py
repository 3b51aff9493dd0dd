"""One training loop for all models: schedule by time or by steps, averaged weights, checkpoints that resume."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch

CHECKPOINT_SECONDS = 120

logger = logging.getLogger(__name__)

Module = TypeVar("Module", bound=torch.nn.Module)


@dataclass(frozen=True)
class Budget:
    """How long a stage trains: wall-clock seconds, or a number of steps when `steps` is given.

    By time, a stage ends on time on any machine, however busy; by steps, it is repeatable.
    """

    seconds: float
    steps: int | None = None

    def progress(self, seconds: float, steps: int) -> float:
        """The share of the budget that is spent, in [0, 1]."""
        spent = seconds / self.seconds if self.steps is None else steps / self.steps
        return min(spent, 1.0)


def learning_rate_factor(progress: float, warm_up: float = 0.02) -> float:
    """Linear warm-up to 1, then a cosine to 0."""
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


class Trainer(Generic[Module]):
    """Trains one module towards the end of its budget, from its last checkpoint if there is one.

    Attributes:
        model: what is being trained.
        averaged: an exponential moving average of its weights, which is what one exports.
        rng: source of all data order and noise of the stage; part of the checkpoint.
    """

    def __init__(
        self,
        model: Module,
        optimizers: list[torch.optim.Optimizer],
        checkpoint: Path,
        budget: Budget,
        seed: int,
        average_decay: float = 0.999,
    ) -> None:
        self.model = model
        self.averaged: Module = copy.deepcopy(model).requires_grad_(False).eval()
        self.rng = np.random.default_rng(seed)
        self.steps = 0
        self.seconds = 0.0
        self._optimizers = optimizers
        self._peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
        self._checkpoint = checkpoint
        self._budget = budget
        self._average_decay = average_decay
        if checkpoint.exists():
            self._restore()

    @property
    def progress(self) -> float:
        """The share of the budget that is spent, in [0, 1]."""
        return self._budget.progress(self.seconds, self.steps)

    def train(self, losses: Callable[[np.random.Generator], dict[str, torch.Tensor]], log_every: int = 200) -> None:
        """Step until the budget is spent; `losses` draws a batch and returns named losses, of which the sum is
        minimised."""
        self.model.train()
        saved_at = time.monotonic()
        recent: dict[str, float] = {}
        while self.progress < 1:
            started = time.monotonic()
            named = losses(self.rng)
            for optimizer in self._optimizers:
                optimizer.zero_grad(set_to_none=True)
            torch.stack(list(named.values())).sum().backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self._set_learning_rates()
            for optimizer in self._optimizers:
                optimizer.step()
            self._average()
            self.steps += 1
            for name, loss in named.items():
                recent[name] = 0.99 * recent.get(name, float(loss.detach())) + 0.01 * float(loss.detach())
            self.seconds += time.monotonic() - started
            if self.steps % log_every == 0:
                self._log(recent)
            if time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                self.save()
                saved_at = time.monotonic()
        self._log(recent)
        self.save()

    def save(self) -> None:
        """Write the checkpoint whole: a kill leaves the previous one or this one."""
        self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._checkpoint.with_suffix(".tmp")
        torch.save(
            {
                "model": self.model.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
                "rng": json.dumps(self.rng.bit_generator.state),
                "torch_rng": torch.get_rng_state(),
                "steps": self.steps,
                "seconds": self.seconds,
            },
            temporary,
        )
        os.replace(temporary, self._checkpoint)

    def _restore(self) -> None:
        state = torch.load(self._checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.rng.bit_generator.state = json.loads(state["rng"])
        torch.set_rng_state(state["torch_rng"])
        self.steps, self.seconds = state["steps"], state["seconds"]

    def _set_learning_rates(self) -> None:
        factor = learning_rate_factor(self.progress)
        for optimizer, peaks in zip(self._optimizers, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self._average_decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(
            [p.data for p in self.averaged.parameters()], [p.data for p in self.model.parameters()], 1 - decay
        )
        for mean, current in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
            mean.copy_(current)

    def _log(self, recent: dict[str, float]) -> None:
        losses = "  ".join(f"{name} {value:.4f}" for name, value in recent.items())
        per_second = self.steps / max(self.seconds, 1e-9)
        logger.info("%5.1f %%  step %d  %.2f steps/s  %s", 100 * self.progress, self.steps, per_second, losses)
