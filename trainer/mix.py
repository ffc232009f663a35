"""Texts that should stay likely while the reward pulls elsewhere (InstructGPT's "PPO-ptx")."""

from dataclasses import dataclass

from app.core.recipes import PolicyConfig
from trainer.context import Context, RecipeError
from trainer.data import shuffled
from trainer.experience import cut
from trainer.packing import Sequences


@dataclass(frozen=True)
class Mix:
    """(first token, the rest) of each text; the loss is on the rest."""

    sequences: Sequences

    def teach(self, config: PolicyConfig, context: Context, adapter: str, place: int) -> float:
        """Differentiate `ptx_coefficient` times the mean −log p of the `place`-th batch's tokens. Returns that mean.

        At temperature 1: these texts were not sampled.
        """
        trunk = context.trunk
        mine = [self.sequences[row] for row in self.rows(config.ptx_batch, context.seed, place)]
        total = sum(len(answer) for _, answer in mine)
        summed = 0.0
        for _, batch in cut(context, mine, list(range(len(mine))), config.micro_batch_tokens):
            with trunk.use(adapter):
                states = batch.at_answer(trunk.read(batch))
            logprobs, _ = trunk.token_logprobs(states, batch.targets, batch.mask)
            loss = -logprobs.sum() / total
            (config.ptx_coefficient * loss).backward()  # type: ignore[no-untyped-call]
            summed += float(loss.detach())
        return summed

    def rows(self, count: int, seed: int, place: int) -> list[int]:
        """Which sequences the `place`-th batch holds of an endless shuffled stream: a resumed run goes on in it."""
        made = []
        for position in range(place * count, (place + 1) * count):
            lap, index = divmod(position, len(self.sequences))
            made.append(shuffled(len(self.sequences), seed, "ptx", lap)[index])
        return made


def make_mix(config: PolicyConfig, context: Context) -> Mix | None:
    """The config's texts, cut to what the model reads; None when nothing is mixed in. Raises RecipeError."""
    if config.ptx_coefficient == 0:
        return None
    texts = [context.tokenizer.encode(text)[: context.trunk.max_length] for text in config.ptx_texts]
    sequences = [(tokens[:1], tokens[1:]) for tokens in texts if len(tokens) > 1]
    if not sequences:
        raise RecipeError("The texts of ptx_texts are too short to learn anything from.")
    return Mix(sequences)
