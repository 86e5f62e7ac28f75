"""Tasks against closed forms and the paper's own listing."""

import hashlib
import math

import numpy as np
import pytest
import torch

from urgates.lab.tasks import Adding, Copy, Pixels, bit_reversal, data
from urgates.lab.tasks.base import draws
from urgates.lab.tasks.images import shuffled

SYNTHETIC = [Copy(1), Copy(50), Adding(2), Adding(7), Adding(200)]


def sha256(tensor):
    array = tensor.numpy()
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()


@pytest.mark.parametrize("task", [*SYNTHETIC, Pixels("digits"), Pixels("digits", True)], ids=repr)
def test_a_batch_is_a_function_of_seed_step_and_size(task):
    x, target = task.batch(3, 5, 32)
    task.batch(9, 9, 32)
    torch.manual_seed(0)
    again = task.batch(3, 5, 32)
    assert torch.equal(x, again[0]) and torch.equal(target, again[1])
    assert x.dtype == torch.float32 and x.shape[::2] == (32, task.input_size)
    for other in (task.batch(4, 5, 32), task.batch(3, 6, 32), task.batch(3 + 2**32, 5, 32)):
        assert not torch.equal(target, other[1])


@pytest.mark.parametrize("task", [Copy(5), Adding(5), Pixels("digits")], ids=lambda t: t.name)
def test_head_loss_and_metrics_fit_the_batch_and_vmap(task):
    _, target = task.batch(0, 0, 6)
    steps = () if task.readout == "last" else (task.readout,)
    hidden = torch.randn(3, 6, *steps, 16)  # three models
    out = torch.stack([task.head(16)(h) for h in hidden])
    assert out.shape == (3, *target.shape, task.output_size)
    loss = torch.func.vmap(task.loss, in_dims=(0, None))(out, target)
    torch.testing.assert_close(loss, torch.stack([task.loss(o, target) for o in out]))
    for name, values in torch.func.vmap(task.metrics, in_dims=(0, None))(out, target).items():
        torch.testing.assert_close(
            values, torch.stack([task.metrics(o, target)[name] for o in out])
        )
    with pytest.raises(ValueError, match=r"out must have shape"):
        task.loss(out[0, ..., :0], target)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: Copy(0), "length=0"),
        (lambda: Copy(-1), "length=-1"),
        (lambda: Copy(1.5), "length=1.5"),
        (lambda: Adding(1), "length=1"),
        (lambda: Copy(5).batch(0, 0, 0), "batch_size=0"),
        (lambda: Copy(5).batch(-1, 0, 4), "seed=-1"),
        (lambda: Adding(5).batch(0, -1, 4), "step=-1"),
        (lambda: Adding(5).batch(0, 0, -4), "batch_size=-4"),
        (lambda: Copy(5).head(0), "hidden_size=0"),
        (lambda: Pixels("svhn"), "dataset='svhn'"),
        (lambda: Pixels(data_seed=-1), "data_seed=-1"),
        (lambda: Pixels(dropout=1.0), "dropout=1.0"),
        (lambda: Pixels("digits").batch(0, -1, 4), "step=-1"),
        (lambda: Pixels("digits").batch(0, 0, 0), "batch_size=0"),
        (lambda: Pixels("digits").batch(0, 0, 1351), "batch_size=1351"),
        (lambda: Pixels("digits").split("dev"), "split='dev'"),
        (lambda: next(Pixels("digits").evaluate_batches("test", 0)), "batch_size=0"),
        (lambda: Pixels("digits").head(-1), "hidden_size=-1"),
        (lambda: bit_reversal(0), "n=0"),
        (lambda: data.load("svhn"), "dataset='svhn'"),
    ],
)
def test_bad_arguments_raise_one_clear_error(call, name):
    argument, value = name.split("=")
    with pytest.raises(ValueError, match=rf"{argument} must be .*got {value}$"):
        call()


@pytest.mark.parametrize("N", [1, 50, 500])
def test_copy_shows_ten_symbols_and_asks_for_them_at_the_end(N):
    task = Copy(N)
    x, target = task.batch(0, 0, 64)
    tokens = x.argmax(2)
    assert x.shape == (64, N + 20, 10) and torch.equal(x.sum(2), torch.ones(64, N + 20))
    assert torch.equal(tokens[:, :10], target) and target.dtype == torch.int64
    assert (tokens[:, 10:-10] == 0).all() and (tokens[:, -10:] == 9).all()
    assert set(target.unique().tolist()) == set(range(1, 9)) and task.readout == 10


def test_copy_baseline_is_log_8():
    task = Copy(1)
    target = task.batch(0, 0, 5000)[1]
    share = torch.bincount(target.flatten(), minlength=10) / target.numel()
    best = share.log().expand(*target.shape, 10)  # the best constant predictor for these targets
    assert task.baseline == math.log(8)
    assert task.loss(best, target).item() == pytest.approx(math.log(8), rel=1e-3)
    even = torch.zeros(*target.shape, 10)
    assert task.loss(even, target).item() == pytest.approx(math.log(10), rel=1e-5)
    assert task.metrics(even, target)["loss_8"].item() == pytest.approx(math.log(8), rel=1e-5)


def test_the_head_reads_the_steps_that_ask():
    """Of hidden states that name their own time step: Copy's ten nines, else the last pixel."""
    for task, steps in ((Copy(50), range(60, 70)), (Adding(70), [69]), (Pixels("digits"), [69])):
        h = torch.arange(70.0).view(1, 70, 1)
        assert task.decode(torch.nn.Identity(), h).flatten().tolist() == list(steps)


def test_copy_scores_a_perfect_answer():
    task = Copy(3)
    target = task.batch(0, 0, 20)[1]
    out = 50 * torch.eye(10)[target]
    assert task.loss(out, target) < 1e-6 and task.metrics(out, target)["loss_8"] < 1e-6
    assert task.metrics(out, target)["accuracy"] == 1
    assert task.metrics(out.roll(1, dims=2), target)["accuracy"] == 0


@pytest.mark.parametrize("T", [2, 3, 7, 200])
def test_adding_marks_one_value_in_each_half(T):
    x, target = Adding(T).batch(0, 0, 2000)
    value, marker = x.unbind(2)
    assert x.shape == (2000, T, 2) and set(marker.unique().tolist()) <= {0.0, 1.0}
    assert (marker[:, : T // 2].sum(1) == 1).all() and (marker[:, T // 2 :].sum(1) == 1).all()
    assert (marker.sum(0) > 0).all()  # every position is drawn
    assert 0 <= value.min() and value.max() < 1
    torch.testing.assert_close(target, (value * marker).sum(1))


def test_adding_baseline_is_one_sixth():
    task = Adding(2)
    target = task.batch(0, 0, 200_000)[1]
    constant = target.mean().expand(len(target), 1)
    assert target.mean().item() == pytest.approx(1, rel=1e-2)
    assert task.loss(constant, target).item() == pytest.approx(1 / 6, rel=1e-2)
    assert task.baseline == 1 / 6 and task.metrics(constant, target) == {}


def test_the_data_of_published_runs_never_changes():
    assert draws(2, 42).tolist() == [14276969152011380360, 8095878257575067585]
    copy = "5f28e43e8475212ddfa1c3c8b6d402c989775aa8903b9116cd53de1f5447a676"
    adding = "2ad85f61bb0954737f80a2f00c8e55f7bfefac398fee6f0044e7340c2407a53e"
    assert sha256(Copy(50).batch(1, 2, 32)[1]) == copy
    assert sha256(Adding(100).batch(1, 2, 32)[0]) == adding


def listing(n):
    """The permutation as App. D.5 prints it."""
    m = math.ceil(math.log(n) / math.log(2))
    order = np.arange(1 << m).reshape(1 << m, 1)
    for _ in range(m):
        half = order.shape[0] // 2
        order = np.hstack((order[:half], order[half:]))
    order = order.squeeze(0)
    return np.extract(order < n, order)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 64, 100, 784, 1000, 1024])
def test_bit_reversal_is_the_listing_of_the_paper(n):
    order = bit_reversal(n)
    assert order.tolist() == listing(n).tolist()
    assert order.sort().values.tolist() == list(range(n))


def test_bit_reversal_of_mnist_is_the_known_one():
    order = bit_reversal(784)
    text = ",".join(map(str, order.tolist()))
    expected = "e35d73b4d5633d6f3c97bd60cf535f9570818a5723458a081d1d919adfbda8b6"
    assert hashlib.sha256(text.encode()).hexdigest() == expected
    assert order.diff().abs().median() > 200  # neighbours are torn apart
    assert not torch.equal(order[order], torch.arange(784))  # the direction matters
    assert torch.equal(bit_reversal(64)[bit_reversal(64)], torch.arange(64))


def test_the_permutation_is_the_same_for_every_image():
    plain, permuted = Pixels("digits"), Pixels("digits", permuted=True)
    x, y = plain.batch(0, 3, 50)
    assert torch.equal(permuted.batch(0, 3, 50)[0], x[:, bit_reversal(64)])
    pairs = zip(
        plain.evaluate_batches("test", 100), permuted.evaluate_batches("test", 100), strict=True
    )
    for (x, y), (x_permuted, y_permuted) in pairs:
        assert torch.equal(x_permuted, x[:, bit_reversal(64)]) and torch.equal(y, y_permuted)


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1500, "32dd9b9d008a2551d3f88a0b426e12a5bbccd02151048fe01ebceb8191031d2a"),
        (50_000, "a3e855957fb7dedf359250eee4d8e913755defd350c14afeeed4040fa41d7f4d"),
        (60_000, "bb71763c01fa9e0792939c75b88f161afc2508010d294c284c32508046bfb686"),
    ],
)
def test_the_images_of_the_validation_split_are_pinned(n, expected):
    assert sha256(shuffled(n, 42)[: n // 10]) == expected


def test_digits_splits_are_disjoint_and_complete():
    task = Pixels("digits")
    sizes = {name: len(task.split(name)[1]) for name in ("train", "valid", "test")}
    assert sizes == {"train": 1350, "valid": 150, "test": 297}
    everything = torch.cat([task.split(name)[0] for name in sizes]).flatten(1)
    stored = torch.cat(data.load("digits")[::2]).flatten(1)
    assert sorted(everything.tolist()) == sorted(stored.tolist())
    other = Pixels("digits", data_seed=1)
    assert not torch.equal(other.split("valid")[0], task.split("valid")[0])
    assert torch.equal(other.split("test")[0], task.split("test")[0])


def test_an_epoch_reads_every_image_at_most_once_in_an_order_of_its_own():
    task = Pixels("digits")
    steps = task.steps_per_epoch(100)
    assert steps == 13  # 1350 images, the last 50 of an order are dropped
    labels = task.split("train")[1]
    rows = [shuffled(1350, 7, epoch) for epoch in (0, 1)]
    assert all(sorted(r.tolist()) == list(range(1350)) for r in rows)
    for epoch in (0, 1):
        read = torch.cat([task.batch(7, epoch * steps + i, 100)[1] for i in range(steps)])
        assert torch.equal(read, labels[rows[epoch][:1300]])
    assert not torch.equal(*rows)


def test_evaluation_reads_every_image_once_and_scales_to_one():
    task = Pixels("digits")
    batches = list(task.evaluate_batches("valid", 64))
    assert [len(y) for _, y in batches] == [64, 64, 22]
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    stored, labels = task.split("valid")
    assert torch.equal(y, labels) and torch.equal((x * 16).to(torch.uint8), stored)
    assert x.min() == 0 and x.max() == 1


def test_head_of_pixels_has_one_relu_layer_and_the_dropout_asked_for():
    kinds = [type(layer).__name__ for layer in Pixels(dropout=0.5).head(32)]
    assert kinds == ["Linear", "ReLU", "Dropout", "Linear"]
    count = sum(p.numel() for p in Pixels().head(32).parameters())
    assert count == 32 * 256 + 256 + 256 * 10 + 10
