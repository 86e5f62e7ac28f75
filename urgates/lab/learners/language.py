"""The language model of §3.3 and D.3: embedding, recurrent layers of any gate, softmax.

B rows, L tokens, V words, E features of a word, H hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from urgates.checks import flag, number, positive_int, probability
from urgates.lab.learners.networks import recurrent
from urgates.lab.learners.resets import through
from urgates.lab.learners.softmax import cross_entropy
from urgates.lab.protocol import Protocol
from urgates.lab.tasks.text import Segment

_WORDS = 0.1  # embeddings start within ±0.1


class LanguageModel(nn.Module):
    """Word by word: what is the next one?

    `learner_options` of the protocol: `layers`, `embedding` (E), `tied` (the softmax has the
    embedding's weights; where H is not E a projection comes before), `layer_norm` (of the hidden
    states), `dropout` of whole embedded features.
    """

    def __init__(self, protocol: Protocol, cell: str, gate: str, words: int):
        super().__init__()
        options = protocol.learner_options
        E, H = positive_int("embedding", options["embedding"]), protocol.hidden
        tied = flag("tied", options.get("tied", True))
        self.embed = nn.Embedding(words, E)
        nn.init.uniform_(self.embed.weight, -_WORDS, _WORDS)
        self.dropout = probability("dropout", options.get("dropout", 0.0))
        self.project = nn.Linear(H, E) if tied and H != E else nn.Identity()
        self.norm = nn.LayerNorm(H) if options.get("layer_norm", False) else nn.Identity()
        self.words = None if tied else nn.Parameter(torch.empty(words, H))
        if not tied:
            nn.init.uniform_(self.words, -(number("hidden", H) ** -0.5), H**-0.5)
        self.bias = nn.Parameter(torch.zeros(words))
        # Last, so that all else does not depend on how many numbers the gate draws.
        self.rnn = recurrent(protocol, cell, gate, E, positive_int("layers", options["layers"]))

    def states(self, rows: int) -> tuple[Tensor, Tensor]:
        """The states before the first word: zeros [layers, B, H], of h and of c."""
        zeros = self.bias.new_zeros(self.rnn.num_layers, rows, self.rnn.hidden_size)
        return zeros, zeros

    def mask(self, rows: int, length: int) -> Tensor:
        """What dropout multiplies embedded words by: [B, L, E], or [B, 1, 1] ones without it."""
        shape = (rows, length, self.embed.embedding_dim) if self.dropout else (rows, 1, 1)
        return nn.functional.dropout(self.bias.new_ones(shape), self.dropout)

    def forward(
        self, segment: Segment, hx: tuple, mask: Tensor | float = 1.0
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Sum of the losses over a segment's targets in nats, and the states after it."""
        h, hx = through(self.rnn, self.embed(segment.x) * mask, hx, segment.resets)
        h = self.project(self.norm(h)).flatten(0, 1)
        return cross_entropy(h, self._softmax, self.bias, segment.target.flatten()), hx

    @property
    def _softmax(self) -> Tensor:
        """The softmax's weights [V, E], or [V, H] where they are its own."""
        return self.embed.weight if self.words is None else self.words

    @torch.no_grad()
    def sample(self, token: int, count: int, seed: int) -> list[int]:
        """Tokens drawn one after the other, each read before the next; `token` is read first."""
        drawn, hx = [token], self.states(1)
        dice = torch.Generator(self.bias.device).manual_seed(seed)
        for _ in range(positive_int("count", count)):
            x = torch.tensor([[drawn[-1]]], device=self.bias.device)
            h, hx = self.rnn(self.embed(x), hx)
            logits = self.project(self.norm(h[0, 0])) @ self._softmax.T + self.bias
            drawn.append(int(torch.multinomial(logits.softmax(0), 1, generator=dice)))
        return drawn[1:]
