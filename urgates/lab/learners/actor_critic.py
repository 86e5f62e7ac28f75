"""The actor-critic: M agents that play whole episodes and learn from them, as a stack (§3.4, E.2).

One update is B episodes of every agent.  They are played step by step, then gone through once more
as one sequence, with back-propagation through the whole episode.  The loss is that of the released
agents of Hung et al. (2018), summed over time and averaged over episodes.
M agents, B episodes, T steps, z features, H hidden units; γ discounts, and is λ as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from urgates.checks import positive_int
from urgates.cores import RMA
from urgates.lab.devices import choose_device
from urgates.lab.jobs import Job
from urgates.lab.learners.base import digits
from urgates.lab.learners.networks import CELLS, features, recurrent
from urgates.lab.learners.reconstruction import Reconstruction, reading
from urgates.lab.learners.stacked import Stacked, StackedAdam
from urgates.lab.protocol import Protocol
from urgates.lab.tasks import Score
from urgates.lab.tasks.base import draws
from urgates.lab.tasks.match import ACTIONS, SIGHT, Match
from urgates.lab.tasks.rooms import BACKGROUND, PLAIN
from urgates.starts import truncated

_PIXELS = 3 * (2 * SIGHT + 1) ** 2
_GROUND = PLAIN[BACKGROUND][0] / 255
_LARGEST = 10.0  # of a gradient into logits and values


class Seen(NamedTuple):
    """What an agent knows of the world at each step."""

    pixels: Tensor  # [..., 5, 5, 3] uint8
    action: Tensor  # [...] int64, the one before; 0 at the start
    reward: Tensor  # [...] what it brought


class Answer(NamedTuple):
    """What an agent makes of what it sees."""

    logits: Tensor  # [B, T, 4] of its next actions
    value: Tensor  # [B, T] what it believes is still to come
    hx: tuple[Tensor, ...]  # its states after the last step
    costs: dict[str, Tensor]  # [B, T] each, what it learns beside; none unless asked


class Agent(nn.Module):
    """Eyes, memory, a policy and a guess at what is to come.

    `cell` is its memory: "lstm" or another recurrent layer, "dnc", "mem" (the RMA's core, which
    makes z itself), or "rma" (that, and z must tell what was seen).
    `learner_options` of the protocol: `features`, how many the encoder gives; `convolutions`, the
    channels of its two 3 x 3 layers (none: it is linear); `width` of z and of the two heads;
    `contrast`, how much shades and colours count (none: pixels over 255, as they are): walls, of
    which there are many, leave the colours no room in a small encoder.
    """

    def __init__(self, protocol: Protocol, cell: str, gate: str):
        super().__init__()
        options = protocol.learner_options
        size, width = (positive_int(name, options[name]) for name in ("features", "width"))
        layers, channels, pixels = [], 3, _PIXELS
        for wide in (convolutions := tuple(options.get("convolutions", ()))):
            layers += [nn.Conv2d(channels, wide, 3, padding="same"), nn.ReLU()]
            channels, pixels = wide, wide * _PIXELS // 3
        self.eyes = nn.Sequential(*layers[:-1], nn.Flatten(), nn.Linear(pixels, size))
        inputs = size + len(ACTIONS) + 1
        known = {"width": width} if CELLS.get(cell) is RMA else {}
        self.z = nn.Identity() if known else _head(inputs, 2 * width, width)
        outputs = features(protocol, cell, **known) + (0 if known else width)
        self.policy = _head(outputs, width, len(ACTIONS))
        self.value = _head((width if known else outputs) + len(ACTIONS), width, 1)
        self.rnn = recurrent(protocol, cell, gate, inputs if known else width, **known)
        self.tells = Reconstruction(width, convolutions) if cell == "rma" else None
        self.width = width
        self.contrast = options.get("contrast")
        self.beside = ("reading_cost",) * bool(known) + (self.tells.names if self.tells else ())
        for layer in self.modules():
            _start(layer)

    def features(self, seen: Seen) -> Tensor:
        """z [B, T, width] of what is seen [B, T], or what it is made of if the memory makes it."""
        shape = seen.action.shape
        pixels = seen.pixels.flatten(0, len(shape) - 1).permute(0, 3, 1, 2).float() / 255
        if self.contrast:
            (shade, colour), grey = self.contrast, pixels.mean(1, keepdim=True)
            pixels = shade * (pixels - _GROUND) + colour * (pixels - grey)
        code = self.eyes(pixels).unflatten(0, shape)
        before = nn.functional.one_hot(seen.action, len(ACTIONS)).to(code)
        return self.z(torch.cat([code, before, seen.reward[..., None]], -1))

    def forward(self, seen: Seen, hx: tuple | None = None, learning: bool = False) -> Answer:
        """Look at some steps [B, T], from states hx or from the start; with costs if `learning`."""
        x = self.features(seen)
        y, hx = self.rnn(x, hx)
        known = y if isinstance(self.rnn, RMA) else torch.cat([x, y], -1)
        z, logits = known[..., : self.width], self.policy(known)
        judged = z if isinstance(self.rnn, RMA) else known  # the RMA's z knows what it remembers
        value = self.value(torch.cat([judged, logits.detach()], -1))[..., 0]
        return Answer(logits, value, hx, self._costs(seen, y) if learning else {})

    def _costs(self, seen: Seen, y: Tensor) -> dict[str, Tensor]:
        if not isinstance(self.rnn, RMA):
            return {}
        z, h, _ = self.rnn.parts(y)
        costs = {"reading_cost": reading(self.rnn.queries(h)[1])}
        return costs if self.tells is None else costs | self.tells(z, *seen)


def _head(inputs: int, width: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs))


@torch.no_grad()
def _start(layer: nn.Module) -> None:
    """Weights as the released agents draw them: normal, cut at two deviations of 1/√fan-in."""
    if not isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        return
    turned = isinstance(layer, nn.ConvTranspose2d)
    std = (layer.weight[:, 0] if turned else layer.weight[0]).numel() ** -0.5
    truncated(layer.weight, std)
    nn.init.zeros_(layer.bias)


class Episodes(NamedTuple):
    """B episodes of M agents: [M, B, T] and more."""

    seen: Seen
    action: Tensor
    reward: Tensor
    alive: Tensor  # whether the episode had not ended before
    last: Tensor  # [M, B] reward of the last phase


def returns(reward: Tensor, value: Tensor, discount: float) -> Tensor:
    """λ-returns [..., T], λ = γ, of rewards and values [..., T]; nothing comes after the end."""
    after = torch.zeros_like(value[..., 0])
    found = []
    for t in reversed(range(reward.shape[-1])):
        following = value[..., t + 1] if t + 1 < value.shape[-1] else torch.zeros_like(after)
        after = reward[..., t] + discount * ((1 - discount) * following + discount * after)
        found.append(after)
    return torch.stack(found[::-1], -1)


class ActorCritic(Stacked):
    """The M agents of a job; see `Learner`.

    `learner_options` beside those of `Agent`: `discount` γ, `entropy` and `baseline` costs.
    """

    scores = (
        Score("loss"), Score("last_phase", "higher", "reward"), Score("reward", "higher"),
        Score("entropy", unit="nats"),
    )  # fmt: skip
    select = None

    def __init__(self, job: Job, device: str = "auto"):
        self.protocol, self.device = job.protocol, choose_device(device)
        self.options = job.protocol.learner_options
        self.rates, self.seeds = zip(*job.models, strict=True)
        self.rules = self.protocol.make_task()
        agents = [self._agent(job, seed) for seed in self.seeds]
        self.parameters, _ = stack_module_state(agents)
        self.agent = agents[0].eval()
        self.rnn = self.agent.rnn
        self.scores = (*ActorCritic.scores, *map(Score, self.agent.beside))
        self.world = Match(self.rules, self.protocol.batch, self.seeds, self.device)
        self.adam = StackedAdam(self.parameters, self.rates, betas=(0.0, 0.95), eps=1e-6)
        self.step = 0
        self.died_at: list[int | None] = [None] * len(self.seeds)
        self._recorded: torch.fx.GraphModule | None = None

    def _agent(self, job: Job, seed: int) -> Agent:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Agent(job.protocol, job.cell, job.gate).to(self.device)

    def forward(
        self, seen: Seen, hx: tuple | None = None, parameters: dict[str, Tensor] | None = None,
        learning: bool = False,
    ) -> Answer:  # fmt: skip
        """Every agent on its own [M, B, T]."""

        def one(p: dict[str, Tensor], seen: Seen, hx: tuple | None) -> Answer:
            return functional_call(self.agent, p, (seen, hx, learning))

        return vmap(one, (0, 0, None if hx is None else 0))(parameters or self.parameters, seen, hx)

    # ---------------------------------------------------------------- playing

    @torch.no_grad()
    def play(self, episode: int, parameters: dict[str, Tensor] | None = None) -> Episodes:
        """B whole episodes of every agent; which ones, `episode` says."""
        luck, world = self._luck(episode), self.world
        world.episode[:] = episode - 1
        pixels = self._by_agent(world.restart())
        action, reward = (torch.zeros(pixels.shape[:2], device=self.device) for _ in range(2))
        action, alive, hx, steps = action.long(), action == 0, None, []
        last = torch.zeros_like(reward)
        for t in range(self.rules.steps):
            seen = Seen(pixels, action, reward)
            now = Seen(*(part.unsqueeze(2) for part in seen))
            logits, hx = self._glance(now, hx, parameters or self.parameters)
            chances = logits[:, :, 0].softmax(-1).cumsum(-1)[..., :-1]
            action = (luck[..., t, None] > chances).sum(-1)
            frame = world.step(action.flatten())
            pixels, reward, ended = map(self._by_agent, frame)
            reward = reward * alive
            steps.append((seen, action, reward, alive))
            last = torch.where(ended & alive, self._by_agent(world.last), last)
            alive = alive & ~ended
            if not alive.any():
                break
            if frame.done.any():  # what they play on does not count
                world.restart(frame.done)
        seens, *rest = zip(*steps, strict=True)
        seen = Seen(*(torch.stack(parts, 2) for parts in zip(*seens, strict=True)))
        return Episodes(seen, *(torch.stack(parts, 2) for parts in rest), last)

    def _glance(
        self, now: Seen, hx: tuple | None, parameters: dict[str, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """`forward` of one step; recorded at the second, as vmap costs more than its operations."""

        def plain(parameters: dict[str, Tensor], now: Seen, hx: tuple | None):
            logits, _, hx, _ = self.forward(now, hx, parameters)
            return logits, hx

        if hx is None:
            return plain(parameters, now, hx)
        if self._recorded is None:
            self._recorded = make_fx(plain)(parameters, now, hx)
            self._recorded.graph.eliminate_dead_code()
            self._recorded.recompile()
        return self._recorded(parameters, now, hx)

    def _by_agent(self, copies: Tensor) -> Tensor:
        """[M · B, …] as [M, B, …]."""
        return copies.unflatten(0, (len(self.seeds), -1))

    def _luck(self, episode: int) -> Tensor:
        """Uniform numbers [M, B, T]: of the agent's seed and the episode alone."""
        count = self.protocol.batch * self.rules.steps
        found = [draws(count, seed, 1, episode) >> 11 for seed in self.seeds]
        luck = torch.stack([torch.from_numpy(raw.astype("float64")) for raw in found]) * 2**-53
        return luck.view(len(found), self.protocol.batch, -1).to(self.device)

    # ---------------------------------------------------------------- learning

    def advance(self) -> dict[str, Tensor]:
        """Play B episodes of every agent, and learn from them once; scores [M]."""
        played = self.play(self.step)
        logits, value, _, costs = self.forward(played.seen, learning=True)
        for out in (logits, value):
            out.register_hook(lambda gradient: gradient.clamp(-_LARGEST, _LARGEST))
        loss, entropy = self._loss(played, logits, value)
        costs = {name: (cost * played.alive).sum(2).mean(1) for name, cost in costs.items()}
        loss = sum(costs.values(), loss)
        for p in self.parameters.values():
            p.grad = None
        loss.sum().backward()
        finite = loss.isfinite()
        for p in self.parameters.values():
            finite = finite & p.grad.flatten(1).isfinite().all(1)
        self.update(finite)
        return {
            "loss": loss.detach(),
            "last_phase": played.last.mean(1),
            "reward": played.reward.sum(2).mean(1),
            "entropy": entropy.detach(),
            **{name: cost.detach() for name, cost in costs.items()},
        }

    def _loss(self, played: Episodes, logits: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The loss [M], and the mean entropy of the policy [M]."""
        alive = played.alive.float()
        log_p = logits.log_softmax(-1)
        with torch.no_grad():
            target = returns(played.reward, value * alive, self.options["discount"])
        ahead = target - value
        chosen = log_p.gather(-1, played.action[..., None])[..., 0]
        entropy = -(log_p.exp() * log_p).sum(-1)
        each = -chosen * ahead.detach() + self.options["baseline"] * ahead.square() / 2
        each = (each - self.options["entropy"] * entropy) * alive
        mean_entropy = (entropy * alive).sum((1, 2)) / alive.sum((1, 2))
        return each.sum(2).mean(1), mean_entropy

    # ---------------------------------------------------------------- what a learner offers

    def evaluate(self, split: str, weights: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Reward of the last phase in episodes that are not trained on, [M]."""
        beyond = self.protocol.steps + (split == "test")
        return {"last_phase": self.play(beyond, weights).last.mean(1)}

    @torch.no_grad()
    def probe(self) -> list[dict[str, list[float]]]:
        """Per agent, each unit's mean of the gates over an episode that is not trained on."""
        seen = self.play(self.protocol.steps + 2).seen
        return [
            {name: digits(gates[name].mean((0, 1))) for name in ("f", "g")}
            for gates in self.gates(seen)
        ]

    @torch.no_grad()
    def gates(self, seen: Seen) -> Iterator[dict[str, Tensor]]:
        """Each agent's gates [B, T, H] over episodes seen [M, B, T], as its layer names them."""
        for m in range(len(self.seeds)):
            self.agent.load_state_dict({k: p[m] for k, p in self.parameters.items()})
            yield self.agent.rnn.gates(self.agent.features(Seen(*(part[m] for part in seen))))
