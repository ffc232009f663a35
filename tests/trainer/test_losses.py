"""Functions of trainer.losses against twins written with plain loops, and against closed forms. All in fp64.

The rest is in test_twins.py, which also fails for a function that no test calls.
"""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from trainer import losses

torch.set_num_threads(1)


def batch(seed: int = 0, rows: int = 5, width: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """Two random (B, R) matrices and a right-padded mask with at least one real token per row."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, rows, width, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, width + 1, (rows,), generator=generator)
    return first, second, torch.arange(width) < lengths[:, None]


def real(values: Tensor, mask: Tensor) -> list[float]:
    return [float(v) for row, keep in zip(values, mask, strict=True) for v, k in zip(row, keep, strict=True) if k]


def test_masked_mean_and_whitening_look_at_real_tokens_only() -> None:
    values, _, mask = batch()
    kept = real(values, mask)
    mean = sum(kept) / len(kept)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in kept) / len(kept))
    assert float(losses.masked_mean(values, mask)) == pytest.approx(mean, abs=1e-12)
    assert real(losses.whiten(values, mask), mask) == pytest.approx([(v - mean) / deviation for v in kept], abs=1e-6)
    scaled = losses.whiten(values, mask, shift_mean=False)
    assert float(losses.masked_mean(scaled, mask)) == pytest.approx(mean, abs=1e-6)
    spoiled = torch.where(mask, values, 1e9)
    assert_close(losses.whiten(spoiled, mask), losses.whiten(values, mask))


def gae_by_double_loop(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """A_t = Σ_k (γλ)^k δ_{t+k}, straight from the definition."""
    advantages = torch.zeros_like(values)
    for b in range(len(values)):
        length = int(mask[b].sum())
        value = [float(v) for v in values[b, :length]] + [0.0]
        for t in range(length):
            for k in range(length - t):
                delta = float(rewards[b, t + k]) + gamma * value[t + k + 1] - value[t + k]
                advantages[b, t] += (gamma * lam) ** k * delta
    return advantages


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.99, 0.9), (1.0, 1.0), (0.9, 0.0)])
def test_gae_equals_its_definition(gamma: float, lam: float) -> None:
    rewards, values, mask = batch(1)
    advantages, returns = losses.gae(torch.where(mask, rewards, 0), values, mask, gamma=gamma, lam=lam)
    expected = gae_by_double_loop(rewards, values, mask, gamma, lam)
    assert_close(advantages, expected, atol=1e-12, rtol=0)
    assert_close(returns, expected + torch.where(mask, values, 0), atol=1e-12, rtol=0)


def test_gae_with_lambda_one_is_the_reward_to_go_minus_the_value() -> None:
    rewards, values, mask = batch(2)
    rewards = torch.where(mask, rewards, 0)
    _, returns = losses.gae(rewards, values, mask, gamma=1.0, lam=1.0)
    to_go = torch.flip(torch.cumsum(torch.flip(rewards, [1]), 1), [1])
    assert_close(torch.where(mask, returns, 0), torch.where(mask, to_go, 0), atol=1e-12, rtol=0)


def test_kl_estimators_average_to_the_exact_divergence() -> None:
    """On a categorical the expectation can be summed: k1 and k3 are exact, k2 is close for close distributions."""
    policy = torch.log_softmax(torch.tensor([0.3, -0.2, 0.1, 0.0], dtype=torch.float64), 0)
    reference = torch.log_softmax(torch.tensor([0.1, 0.1, -0.3, 0.2], dtype=torch.float64), 0)
    weights = policy.exp()
    exact = float((weights * (policy - reference)).sum())
    means = {name: float((weights * losses.kl(policy, reference, name)).sum()) for name in ("k1", "k2", "k3")}
    assert means["k1"] == pytest.approx(exact, abs=1e-12)
    assert means["k3"] == pytest.approx(exact, abs=1e-12)
    assert means["k2"] == pytest.approx(exact, rel=0.2)
    assert (losses.kl(policy, reference, "k3") >= 0).all()
    with pytest.raises(ValueError, match="k9"):
        losses.kl(policy, reference, "k9")


def test_the_score_arrives_once_at_the_last_real_token() -> None:
    token_kl, _, mask = batch(3)
    scores = torch.arange(1.0, 6.0, dtype=torch.float64)
    rewards = losses.token_rewards(scores, token_kl, mask, 0.1)
    for b in range(5):
        last = int(mask[b].sum()) - 1
        expected = [-0.1 * float(k) for k in token_kl[b, : last + 1]]
        expected[-1] += float(scores[b])
        assert rewards[b, : last + 1].tolist() == pytest.approx(expected, abs=1e-12)
        assert not rewards[b, last + 1 :].any()


def test_kl_controller_moves_by_at_most_a_fifth_of_the_horizon_share() -> None:
    def move(measured: float) -> float:
        return losses.next_kl_coefficient(0.15, measured, target=6, horizon=10_000, episodes=512) / 0.15

    assert move(1000.0) == pytest.approx(1.01024)
    assert move(0.0) == pytest.approx(1 - 0.01024)
    assert move(6.0) == 1.0
    assert move(6.6) == pytest.approx(1 + 0.1 * 512 / 10_000)


def policy_loss_by_loop(new: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> float:
    total, count = 0.0, 0
    for n, o, a, m in zip(new.flatten(), old.flatten(), advantages.flatten(), mask.flatten(), strict=True):
        if m:
            ratio = math.exp(max(-20.0, min(20.0, float(n - o))))
            total += max(-float(a) * ratio, -float(a) * max(1 - clip, min(1 + clip, ratio)))
            count += 1
    return total / count


def test_policy_loss_equals_its_loop() -> None:
    new, old, mask = batch(4)
    advantages, _, _ = batch(5)
    made = losses.policy_loss(new, old, advantages, mask, clip=0.2, total=mask.sum())
    assert float(made.loss) == pytest.approx(policy_loss_by_loop(new, old, advantages, mask, 0.2), abs=1e-12)
    ratios = [math.exp(a - b) for a, b in zip(real(new, mask), real(old, mask), strict=True)]
    assert float(made.drift) == pytest.approx(max(abs(r - 1) for r in ratios))
    assert float(made.ratio) == pytest.approx(sum(ratios))


def test_an_unmoved_policy_has_ratio_one_and_the_plain_gradient() -> None:
    old, advantages, mask = batch(6)
    new = old.clone().requires_grad_()
    made = losses.policy_loss(new, old, advantages, mask, clip=0.2, total=mask.sum())
    assert float(made.drift) == 0
    assert float(made.approx_kl) == 0
    (gradient,) = torch.autograd.grad(made.loss, new)
    assert_close(gradient, torch.where(mask, -advantages, 0) / mask.sum(), atol=1e-12, rtol=0)


def test_wild_log_ratios_stay_finite_and_padding_never_counts() -> None:
    new, old, mask = batch(7)
    wild = torch.where(mask, new, float("nan"))
    wild[0, 0] = 500.0
    made = losses.policy_loss(wild, old, torch.ones_like(old), mask, clip=0.2, total=mask.sum())
    assert torch.isfinite(made.loss)


def test_value_loss_equals_its_loop() -> None:
    values, old, mask = batch(8)
    returns, _, _ = batch(9)
    loss, held = losses.value_loss(values, old, returns, mask, clip=0.2, total=mask.sum())
    total, count = 0.0, 0
    for v, o, r in zip(real(values, mask), real(old, mask), real(returns, mask), strict=True):
        near = o + max(-0.2, min(0.2, v - o))
        total += 0.5 * max((v - r) ** 2, (near - r) ** 2)
        count += (near - r) ** 2 > (v - r) ** 2
    assert float(loss) == pytest.approx(total / int(mask.sum()), abs=1e-12)
    assert int(held) == count


@pytest.mark.parametrize("cut", [1, 2, 4])
def test_cutting_a_step_into_micro_batches_leaves_the_gradient_alone(cut: int) -> None:
    new, old, mask = batch(10)
    advantages, returns, _ = batch(11)

    def gradient(pieces: list[slice]) -> Tensor:
        leaf = new.clone().requires_grad_()
        for piece in pieces:
            policy = losses.policy_loss(
                leaf[piece], old[piece], advantages[piece], mask[piece], clip=0.2, total=mask.sum()
            )
            value, _ = losses.value_loss(
                leaf[piece], old[piece], returns[piece], mask[piece], clip=0.2, total=mask.sum()
            )
            (policy.loss + 0.1 * value).backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        return leaf.grad

    whole = gradient([slice(0, 5)])
    assert_close(gradient([slice(0, cut), slice(cut, 5)]), whole, atol=1e-12, rtol=0)


def test_bradley_terry_knows_wins_losses_and_ties() -> None:
    difference = torch.tensor([2.0, 2.0, 2.0], dtype=torch.float64)
    loss = losses.bradley_terry(difference, torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64))
    win, lost = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert loss.tolist() == pytest.approx([win, lost, (win + lost) / 2], abs=1e-12)
    smooth = losses.bradley_terry(difference[:1], torch.ones(1, dtype=torch.float64), smoothing=0.1)
    assert float(smooth) == pytest.approx(0.9 * win + 0.1 * lost, abs=1e-12)


def test_a_tie_pulls_two_rewards_together() -> None:
    rewards = torch.tensor([1.5, -0.5], dtype=torch.float64, requires_grad=True)
    loss = losses.bradley_terry(rewards[:1] - rewards[1:], torch.tensor([0.5], dtype=torch.float64)).sum()
    (gradient,) = torch.autograd.grad(loss, rewards)
    assert gradient[0] > 0 > gradient[1]


def test_centring_is_the_square_of_the_sum() -> None:
    assert losses.centring(torch.tensor([1.0]), torch.tensor([-3.0])).tolist() == [4.0]


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_synthetic_labels_is_found(true_temperature: float) -> None:
    difference = torch.linspace(-4, 4, 401, dtype=torch.float64)
    target = torch.sigmoid(difference / true_temperature)
    assert losses.fit_temperature(difference, target) == pytest.approx(true_temperature, rel=1e-3)


def test_without_pairs_the_temperature_is_one() -> None:
    assert losses.fit_temperature(torch.zeros(0), torch.zeros(0)) == 1.0


def test_calibration_error_against_bins_by_hand() -> None:
    probability = torch.tensor([0.95, 0.95, 0.05, 0.62, 0.61], dtype=torch.float64)
    target = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    expected = (3 * abs(0.95 - 2 / 3) + 2 * abs(0.615 - 0.5)) / 5
    assert losses.calibration_error(probability, target) == pytest.approx(expected, abs=1e-9)
    assert losses.calibration_error(1 - probability, 1 - target) == pytest.approx(expected, abs=1e-9)
    assert losses.calibration_error(torch.zeros(0), torch.zeros(0)) == 0.0


def test_explained_variance_of_a_perfect_a_constant_and_a_wrong_critic() -> None:
    returns, _, mask = batch(12)
    assert losses.explained_variance(returns, returns, mask) == pytest.approx(1)
    assert losses.explained_variance(torch.full_like(returns, 3.0), returns, mask) == pytest.approx(0, abs=1e-9)
    assert losses.explained_variance(-returns, returns, mask) == pytest.approx(-3)
    assert losses.explained_variance(returns, torch.ones_like(returns), mask) == 0.0


@pytest.mark.parametrize("dual", [0.0, 3.0])
def test_dual_clip_bounds_what_a_bad_token_costs(dual: float) -> None:
    new, old, mask = batch(20)
    advantages, _, _ = batch(21)
    made = losses.policy_loss(3 * new, old, advantages, mask, clip=0.2, total=mask.sum(), dual_clip=dual)
    total = 0.0
    for n, o, a in zip(real(3 * new, mask), real(old, mask), real(advantages, mask), strict=True):
        ratio = math.exp(n - o)
        bounded = max(-a * ratio, -a * max(0.8, min(1.2, ratio)))
        total += min(bounded, -dual * a) if dual and a < 0 else bounded
    assert float(made.loss) == pytest.approx(total / int(mask.sum()), abs=1e-12)


def test_leave_one_out_equals_its_loop_and_gives_nothing_away() -> None:
    scores = torch.arange(12.0, dtype=torch.float64) ** 1.5
    advantages = losses.leave_one_out(scores, 4)
    for i, score in enumerate(scores):
        others = [float(scores[j]) for j in range(i // 4 * 4, i // 4 * 4 + 4) if j != i]
        assert float(advantages[i]) == pytest.approx(float(score) - sum(others) / 3, abs=1e-12)
    assert advantages.view(3, 4).sum(1).abs().max() < 1e-12
    assert_close(losses.leave_one_out(scores + 100, 4), advantages)


def test_sequence_loss_equals_its_loop() -> None:
    new, old, mask = batch(22)
    advantages = torch.linspace(-1, 1, 5, dtype=torch.float64)
    made = losses.sequence_loss(new / 5, old / 5, advantages, mask, clip=0.2, total=5)
    total, clipped = 0.0, 0
    for b in range(5):
        ratio = math.exp(sum(float(new[b, t] - old[b, t]) / 5 for t in range(7) if mask[b, t]))
        plain, held = -float(advantages[b]) * ratio, -float(advantages[b]) * max(0.8, min(1.2, ratio))
        total, clipped = total + max(plain, held) / 5, clipped + (held > plain)
    assert float(made.loss) == pytest.approx(total, abs=1e-12)
    assert int(made.clipped) == clipped


def test_sequence_loss_of_an_unmoved_policy_is_reinforce() -> None:
    old, _, mask = batch(23)
    advantages = torch.linspace(-1, 1, 5, dtype=torch.float64)
    new = old.clone().requires_grad_()
    made = losses.sequence_loss(new, old, advantages, mask, clip=0.2, total=5)
    (gradient,) = torch.autograd.grad(made.loss, new)
    assert_close(gradient, torch.where(mask, -advantages[:, None] / 5, 0), atol=1e-12, rtol=0)
    assert (float(made.drift), float(made.approx_kl)) == (0, 0)


def test_kl_losses_have_the_gradients_they_promise() -> None:
    """On a categorical the expectation can be summed. k2: of KL(policy‖reference), also when another policy sampled;
    k3: of KL(reference‖policy); k1: none at all."""
    logits = torch.tensor([0.3, -0.2, 0.1, 0.9], dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.tensor([0.1, 0.1, -0.3, 0.2], dtype=torch.float64), 0)
    sampler = torch.log_softmax(torch.tensor([0.0, 0.4, 0.2, 0.1], dtype=torch.float64), 0)

    def gradient(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, logits)[0]

    def expected(estimator: str) -> Tensor:
        policy = torch.log_softmax(logits, 0)
        one = torch.ones(1, 1, dtype=torch.bool)
        return gradient(
            sum(
                (
                    sampler[a].exp()
                    * losses.kl_loss(
                        policy[a].view(1, 1),
                        sampler[a].view(1, 1),
                        reference[a].view(1, 1),
                        one,
                        estimator=estimator,
                        total=1,
                    )
                    for a in range(4)
                ),
                torch.zeros((), dtype=torch.float64),
            )
        )

    policy = torch.log_softmax(logits, 0)
    assert_close(expected("k2"), gradient((policy.exp() * (policy - reference)).sum()), atol=1e-12, rtol=0)
    policy = torch.log_softmax(logits, 0)
    assert_close(expected("k3"), gradient((reference.exp() * (reference - policy)).sum()), atol=1e-12, rtol=0)
    assert expected("k1").abs().max() < 1e-12


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_dpo_is_minus_log_sigmoid_of_the_margin(smoothing: float) -> None:
    ratios, target = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64), torch.tensor([1.0, 0.0, 0.5])
    expected = []
    for ratio, t in zip(ratios.tolist(), target.tolist(), strict=True):
        first = 1 / (1 + math.exp(-0.3 * ratio))
        soft = t * (1 - smoothing) + (1 - t) * smoothing
        expected.append(-soft * math.log(first) - (1 - soft) * math.log(1 - first))
    found = losses.dpo(ratios, target.double(), beta=0.3, smoothing=smoothing)
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_ipo_is_least_where_the_margin_is_half_the_inverse_of_beta() -> None:
    ratios, target = torch.tensor([5.0, -5.0, 0.0, 1.0], dtype=torch.float64), torch.tensor([1.0, 0.0, 0.5, 1.0])
    assert losses.ipo(ratios, target.double(), beta=0.1).tolist() == pytest.approx([0, 0, 0, 16], abs=1e-12)
