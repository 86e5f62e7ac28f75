"""Where numbers are computed: "auto", "cpu", "cuda" or "cuda:N"."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from urgates.checks import choice, refusal


def choose_device(device: str) -> str:
    """The device "auto" stands for (a GPU if there is one), or `device` itself if it works here."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.empty(0, device=device).is_meta:
            raise RuntimeError("it holds no numbers")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise refusal("device", "be auto, cpu, cuda or cuda:N", repr(device), reason) from None
    return device


def device_name(device: str) -> str:
    """ "CPU", or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each GPU that there is for this process."""
    count, known = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return known.split(",")[:count] if known else [str(number) for number in range(count)]


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """Let a GPU multiply float32 as "tf32" (what cuDNN's layers do by default) or as "ieee"."""
    choice("precision", precision, ("tf32", "ieee"))
    switches = torch.backends.cuda.matmul, torch.backends.cudnn.rnn
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = precision
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value
