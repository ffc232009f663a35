"""CartPole-v1, many carts at once: the dynamics of Barto, Sutton and Anderson 1983 with Gymnasium's constants.

A pole on a cart, pushed left or right with 10 N every 0.02 s (Euler); reward 1 a step. It is over when the pole leans
by more than 12°, the cart leaves ±2.4, or after 500 steps.
"""

import math

import torch
from torch import Tensor

GRAVITY, CART, POLE, HALF, PUSH, TAU = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
LIMIT = 500


def start(carts: int, generator: torch.Generator) -> Tensor:
    """(N, 4) states: position, velocity, angle, angular velocity, each uniform in ±0.05."""
    return torch.rand(carts, 4, generator=generator) * 0.1 - 0.05


def move(state: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The states after one push, and which of them are over. `right` (N,): 1 pushes right, 0 left."""
    x, speed, angle, spin = state.unbind(1)
    force = torch.where(right > 0, PUSH, -PUSH)
    sine, cosine = angle.sin(), angle.cos()
    drive = (force + POLE * HALF * spin**2 * sine) / (CART + POLE)
    turn = (GRAVITY * sine - cosine * drive) / (HALF * (4 / 3 - POLE * cosine**2 / (CART + POLE)))
    push = drive - POLE * HALF * turn * cosine / (CART + POLE)
    after = torch.stack([x + TAU * speed, speed + TAU * push, angle + TAU * spin, spin + TAU * turn], 1)
    return after, (after[:, 0].abs() > 2.4) | (after[:, 2].abs() > 12 * math.pi / 180)
