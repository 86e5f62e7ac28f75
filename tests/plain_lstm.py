"""Permuted images read by torch.nn.LSTM: nothing of urgates, so that it can check its pipeline.

python tests/plain_lstm.py FOLDER [SEED ...]   where FOLDER holds MNIST's four .gz files.
"""

import gzip
import sys

import numpy as np
import torch
from torch import nn


def permutation(n):
    width = (n - 1).bit_length()
    return sorted(range(n), key=lambda i: int(f"{i:0{width}b}"[::-1], 2))


def best_accuracy(x, y, seed, hidden, batch, steps, lr, eval_every):
    """Best validation accuracy of images x [n, T] in [0, 1] with labels y [n]."""
    torch.manual_seed(seed)
    x, shuffled = x[:, permutation(x.shape[1])].unsqueeze(-1), torch.randperm(len(y))
    valid, train = shuffled[: len(y) // 10], shuffled[len(y) // 10 :]
    lstm = nn.LSTM(1, hidden, batch_first=True)
    head = nn.Sequential(nn.Linear(hidden, 256), nn.ReLU(), nn.Linear(256, 10))
    nn.init.zeros_(lstm.bias_ih_l0), nn.init.zeros_(lstm.bias_hh_l0)
    nn.init.ones_(lstm.bias_ih_l0[hidden : 2 * hidden])  # the forget gate's
    parameters, best = [*lstm.parameters(), *head.parameters()], 0.0
    adam = torch.optim.Adam(parameters, lr)
    for step in range(1, steps + 1):
        pick = train[torch.randint(len(train), (batch,))]
        loss = nn.functional.cross_entropy(head(lstm(x[pick])[0][:, -1]), y[pick])
        adam.zero_grad(), loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0), adam.step()
        if step % eval_every == 0:
            with torch.no_grad():
                right = [head(lstm(x[i])[0][:, -1]).argmax(1) == y[i] for i in valid.split(500)]
            best = max(best, torch.cat(right).float().mean().item())
    return best


if __name__ == "__main__":
    files = (f"{sys.argv[1]}/train-{name}-ubyte.gz" for name in ("images-idx3", "labels-idx1"))
    raw = [np.frombuffer(gzip.open(file).read(), np.uint8) for file in files]
    x, y = torch.tensor(raw[0][16:]).view(-1, 784) / 255, torch.tensor(raw[1][8:]).long()
    print("seed,best_valid_accuracy")
    for seed in map(int, sys.argv[2:] or "123"):
        print(f"{seed},{best_accuracy(x, y, seed, 64, 50, 1_500, 2e-3, 500):.6f}", flush=True)
