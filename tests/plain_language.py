"""A language model around torch.nn.LSTM: nothing of urgates, so that it can check its pipeline.

python tests/plain_language.py FOLDER [SEED ...]   where FOLDER holds PTB's three files.
"""

import sys
from collections import Counter
from pathlib import Path

import torch
from torch import nn


class Model(nn.Module):
    """Embedding, LSTM, projection, and the embedding again as softmax."""

    def __init__(self, words, embedding, hidden):
        super().__init__()
        self.embed, self.lstm = nn.Embedding(words, embedding), nn.LSTM(embedding, hidden)
        self.project, self.bias = nn.Linear(hidden, embedding), nn.Parameter(torch.zeros(words))
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)
        for w in (self.lstm.weight_ih_l0, self.lstm.weight_hh_l0):  # each by its own fan-in
            std = w.shape[1] ** -0.5
            nn.init.trunc_normal_(w, std=std, a=-2 * std, b=2 * std)
        nn.init.zeros_(self.lstm.bias_ih_l0), nn.init.zeros_(self.lstm.bias_hh_l0)
        nn.init.ones_(self.lstm.bias_ih_l0[hidden : 2 * hidden])  # the forget gate's

    def forward(self, x, target, state):
        """Mean loss of x [L, B] in nats a word, and the state after it."""
        h, state = self.lstm(self.embed(x), state)
        logits = self.project(h) @ self.embed.weight.T + self.bias
        return nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten()), state


def perplexity(model, stream, piece=2_000):
    """Over all tokens but the first, read in one go."""
    total, state = 0.0, None
    with torch.no_grad():
        for at in range(0, len(stream) - 1, piece):
            x, target = stream[at:-1][:piece, None], stream[at + 1 :][:piece, None]
            loss, state = model(x, target, state)
            total += loss.item() * len(x)
    return torch.tensor(total / (len(stream) - 1)).exp().item()


def best_perplexity(train, valid, seed, sizes, rows, length, steps, lr, clip, eval_every):
    """Best validation perplexity; streams [N] of word numbers, sizes (words, embedding, hidden)."""
    torch.manual_seed(seed)
    model, state, best = Model(*sizes), None, float("inf")
    adam = torch.optim.Adam(model.parameters(), lr)
    begin = int(torch.randint(len(train), ()))
    text = train.roll(-begin)[: len(train) // rows * rows].view(rows, -1).T  # [N/B, B]
    text = torch.cat([text] * (1 + steps * length // len(text)) + [text[: length + 1]])
    for step in range(steps):
        x, target = text[step * length :][: length + 1].unfold(0, length, 1)[:2].movedim(-1, 1)
        loss, state = model(x, target, state)
        adam.zero_grad(), loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip), adam.step()
        state = tuple(s.detach() for s in state)
        if (step + 1) % eval_every == 0:
            best = min(best, perplexity(model, valid))
    return best


def streams(folder):
    """The training and validation text as numbers, and how many words there are."""
    files = (Path(folder, f"ptb.{split}.txt").read_text() for split in ("train", "valid"))
    texts = [text.replace("\n", " <eos> ").split() for text in files]
    number = {word: k for k, (word, _) in enumerate(Counter(texts[0]).most_common())}
    return *(torch.tensor([number[word] for word in text]) for text in texts), len(number)


if __name__ == "__main__":
    train, valid, words = streams(sys.argv[1])
    how = {"sizes": (words, 64, 128), "rows": 8, "length": 64, "steps": 2_700}
    how |= {"lr": 5e-3, "clip": 0.25, "eval_every": 900}
    print("seed,best_valid_perplexity")
    for seed in map(int, sys.argv[2:] or "123"):
        print(f"{seed},{best_perplexity(train, valid, seed, **how):.4f}", flush=True)
