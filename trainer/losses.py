"""The mathematics of both trainers as pure tensor functions; their slow twins are in tests/trainer/test_losses.py.

Shapes: B answers, R positions of an answer (right padded), `mask` (B, R) is True where a token was really written.
Every function works in the type it is given; the recipes hand over fp32.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

LOG_RATIO_LIMIT = 20.0
"""e^±20 is far beyond every clip and still finite in fp32 (OpenRLHF)."""


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real tokens; 0 where there are none."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Divide by the standard deviation over the real tokens, and centre them; 0 elsewhere (N+ detail 16)."""
    mean = masked_mean(values, mask)
    deviation = torch.sqrt(masked_mean((values - mean) ** 2, mask) + 1e-8)
    whitened = (values - mean) / deviation + (0 if shift_mean else mean)
    return torch.where(mask, whitened, 0)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns (B, R), Schulman et al. 2016.

    values[:, t] was read BEFORE token t was written (shift by one); after the last real token the value is 0.
    """
    values = torch.where(mask, values, 0)
    advantages = torch.zeros_like(values)
    running = torch.zeros_like(values[:, 0])
    after = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * after - values[:, t]
        running = torch.where(mask[:, t], delta + gamma * lam * running, 0)
        advantages[:, t] = running
        after = values[:, t]
    return advantages, advantages + values


def kl(logprobs: Tensor, reference: Tensor, estimator: str = "k1") -> Tensor:
    """KL(policy‖reference) per token, from samples of the policy (Schulman, "Approximating KL divergence").

    k1 is unbiased and may be negative, k2 is biased and has the right gradient, k3 is unbiased and never negative.
    As a penalty in the reward only k1 has the gradient of the KL; as a loss only k2 has (`kl_loss`).
    """
    difference = logprobs - reference
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference**2 / 2
    if estimator == "k3":
        return torch.expm1(-difference) + difference
    raise ValueError(f"There is no KL estimator {estimator!r}.")


def token_rewards(scores: Tensor, token_kl: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    """−β·KL at every token, and the answer's score once, at its last real token. scores (B,) → (B, R)."""
    rewards = torch.where(mask, -coefficient * token_kl, 0)
    last = mask.sum(1) - 1
    rows = torch.arange(len(scores), device=scores.device)
    rewards[rows, last] += scores
    return rewards


def next_kl_coefficient(coefficient: float, measured: float, *, target: float, horizon: float, episodes: int) -> float:
    """The adaptive controller of OAI: at most ±20 % of episodes/horizon per batch. `measured`: nats per answer."""
    error = min(max(measured / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * episodes / horizon)


@dataclass(frozen=True)
class PolicyLoss:
    """The loss to differentiate, and sums over tokens for the metrics."""

    loss: Tensor
    approx_kl: Tensor
    clipped: Tensor
    ratio: Tensor
    ratio_square: Tensor
    ratio_max: Tensor
    drift: Tensor
    """Largest |ratio − 1|."""


def policy_loss(
    new: Tensor,
    old: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip: float,
    total: float | Tensor,
    dual_clip: float = 0.0,
) -> PolicyLoss:
    """PPO's clipped surrogate, summed over tokens and divided by `total`: the token count of the WHOLE optimiser step,
    so that cutting it into micro-batches changes nothing.

    `dual_clip` c > 1 (Ye et al. 2020): a token with a negative advantage costs at most −c · advantage, however likely
    it became. 0: no such bound.
    """
    log_ratio = torch.where(mask, new - old, 0).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    ratio = torch.exp(log_ratio)
    plain = -advantages * ratio
    held = -advantages * ratio.clamp(1 - clip, 1 + clip)
    bounded = torch.maximum(plain, held)
    if dual_clip:
        bounded = torch.where(advantages < 0, torch.minimum(bounded, -dual_clip * advantages), bounded)
    loss = torch.where(mask, bounded, 0).sum() / total
    with torch.no_grad():
        return PolicyLoss(
            loss=loss,
            approx_kl=(log_ratio**2 / 2).sum(),
            clipped=((bounded != plain) & mask).sum(),
            ratio=torch.where(mask, ratio, 0).sum(),
            ratio_square=torch.where(mask, ratio**2, 0).sum(),
            ratio_max=ratio.max(),
            drift=(ratio - 1).abs().max(),
        )


def sequence_loss(
    new: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, *, clip: float, total: float | Tensor
) -> PolicyLoss:
    """The same with whole answers as actions (RLOO): advantages (B,), ratios of answers, `total` answers.

    On the batch that was just sampled its gradient is REINFORCE's, −A · ∇ log π(answer). Ratios and clipped are of
    answers; approx_kl and drift are of tokens, as in `policy_loss`.
    """
    log_ratio = torch.where(mask, new - old, 0).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    ratio = torch.exp(log_ratio.sum(1).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
    plain = -advantages * ratio
    held = -advantages * ratio.clamp(1 - clip, 1 + clip)
    loss = torch.maximum(plain, held).sum() / total
    with torch.no_grad():
        return PolicyLoss(
            loss=loss,
            approx_kl=(log_ratio**2 / 2).sum(),
            clipped=(held > plain).sum(),
            ratio=ratio.sum(),
            ratio_square=(ratio**2).sum(),
            ratio_max=ratio.max(),
            drift=(torch.exp(log_ratio) - 1).abs().max(),
        )


def leave_one_out(scores: Tensor, samples: int) -> Tensor:
    """score − mean of the other `samples` − 1 answers to its prompt (Kool et al. 2019). scores (N,): by prompt."""
    grouped = scores.view(-1, samples)
    others = (grouped.sum(1, keepdim=True) - grouped) / (samples - 1)
    return (grouped - others).flatten()


def kl_loss(
    new: Tensor, old: Tensor, reference: Tensor, mask: Tensor, *, estimator: str, total: float | Tensor
) -> Tensor:
    """KL as a loss: over tokens that `old` sampled, each with its probability ratio as a weight without gradient.

    k2: its gradient is that of KL(policy‖reference) token by token. k3: that of KL(reference‖policy) (GRPO's leash).
    k1's gradient is 0 on average, so it is refused by the config.
    """
    ratio = torch.where(mask, new.detach() - old, 0).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    apart = torch.where(mask, new - reference, 0).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return (ratio * kl(apart, torch.zeros_like(apart), estimator)).sum() / total


def value_loss(
    values: Tensor, old: Tensor, returns: Tensor, mask: Tensor, *, clip: float, total: float | Tensor
) -> tuple[Tensor, Tensor]:
    """½·max of the plain and the clipped squared error, over `total` tokens; and how many tokens were held back."""
    near = old + (values - old).clamp(-clip, clip)
    plain, held = (values - returns) ** 2, (near - returns) ** 2
    loss = torch.where(mask, torch.maximum(plain, held), 0).sum() / (2 * total)
    return loss, ((held > plain) & mask).sum()


def bradley_terry(difference: Tensor, target: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy (P,) of P(first better) = σ(difference) against a soft target: 1, 0, or ½ for a tie."""
    soft = target * (1 - smoothing) + (1 - target) * smoothing
    return F.binary_cross_entropy_with_logits(difference, soft, reduction="none")


def dpo(log_ratio: Tensor, target: Tensor, *, beta: float, smoothing: float = 0.0) -> Tensor:
    """DPO (P,) of first minus second log(policy / reference): Bradley–Terry of implicit rewards (Rafailov et al. 2023).

    `smoothing` is cDPO's share of wrong labels; target ½ is a tie.
    """
    return bradley_terry(beta * log_ratio, target, smoothing=smoothing)


def ipo(log_ratio: Tensor, target: Tensor, *, beta: float) -> Tensor:
    """IPO (P,): the squared distance of the log-ratio to ±1 / (2 beta), to 0 for a tie (Azar et al. 2023)."""
    return (log_ratio - (2 * target - 1) / (2 * beta)) ** 2


def centring(first: Tensor, second: Tensor) -> Tensor:
    """(r₁ + r₂)² per pair (TRL): differences alone would leave the level of the rewards free."""
    return (first + second) ** 2


def fit_temperature(difference: Tensor, target: Tensor) -> float:
    """The T > 0 that minimises Bradley–Terry loss of difference / T, between 1/20 and 20 (Guo et al. 2017).

    The loss is convex in 1/T, so ternary search on it finds the one minimum.
    """
    if len(difference) == 0:
        return 1.0
    low, high = 0.05, 20.0
    for _ in range(80):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if bradley_terry(difference * left, target).mean() < bradley_terry(difference * right, target).mean():
            high = right
        else:
            low = left
    return 2 / (low + high)


def log_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats."""
    return F.binary_cross_entropy(probabilities, targets)


def calibration_error(probabilities: Tensor, targets: Tensor, bins: int = 10) -> float:
    """Expected calibration error: |mean probability − mean target| per bin of equal width, weighted by its size.

    Every pair is looked at from its likelier side, so that swapping first and second changes nothing.
    """
    if len(probabilities) == 0:
        return 0.0
    turned = probabilities < 0.5
    sure = torch.where(turned, 1 - probabilities, probabilities)
    right = torch.where(turned, 1 - targets, targets)
    place = ((sure - 0.5) * 2 * bins).long().clamp(0, bins - 1)
    gaps = (
        (sure[place == b].mean() - right[place == b].mean()).abs() * (place == b).sum()
        for b in range(bins)
        if (place == b).any()
    )
    return float(sum(gaps, torch.tensor(0.0)) / len(probabilities))


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 − Var(returns − values) / Var(returns) over the real tokens; 0 where the returns do not vary."""
    spread = masked_mean((returns - masked_mean(returns, mask)) ** 2, mask)
    rest = returns - values
    left = masked_mean((rest - masked_mean(rest, mask)) ** 2, mask)
    share = float(1 - left / spread) if spread > 0 else 0.0
    return share if math.isfinite(share) else 0.0
