"""A linear reward on frozen hidden states: what a few dozen comparisons teach before any weight of the model moves."""

import torch
from torch import Tensor

from trainer import losses


def fit_probe(first: Tensor, second: Tensor, target: Tensor, *, ridge: float) -> Tensor:
    """Weights w (d,) that minimise mean Bradley–Terry loss of (first − second) · w plus ridge · |σ w|².

    `first`, `second`: (P, d) hidden states of judged pairs; `target` (P,): 1, 0 or ½. σ is the deviation of each
    feature, so that the penalty does not depend on its scale. Convex: L-BFGS in fp64 finds the one minimum.
    """
    both = torch.cat([first, second]).double()
    spread = both.std(0, correction=0).clamp(min=1e-6)
    difference = (first.double() - second.double()) / spread
    wanted = target.double()
    weight = torch.zeros_like(spread, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=300, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = losses.bradley_terry(difference @ weight, wanted).mean() + ridge * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return (weight.detach() / spread).float()
