"""The recurrence of a relational memory by one of its kernels, as one differentiable function.

"reference" is all autograd; "eager" (`attending`) and "native" (`compiled`) have a backward pass of
their own, whose derivatives are the reference's again, and take stacked models as one call.
M models, B batch, T steps, S slots of F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from urgates import kernels
from urgates.checks import refusal
from urgates.cores import attending, compiled
from urgates.cores.attending import Inputs
from urgates.kernels import native
from urgates.kernels.native.build import BuildError
from urgates.kernels.reference import Recurrence, by_key

KERNELS = ("auto", "reference", "eager", "native")


def choose(kernel: str, r: Recurrence, x: Tensor, by_unit: bool) -> str:
    """The kernel that one of `KERNELS` stands for.

    Args:
        r, x: what is to run, and one of its tensors. by_unit: whether every unit has a gate.
    Raises:
        ValueError: for "native" where it cannot run.
    """
    if kernel in ("reference", "eager"):
        return kernel
    reason = native.unfit(x)
    if not by_unit:
        reason = "it takes a gate for every unit, got one for a slot"
    if reason is None:
        reason = _broken(r.key)
        if reason is None:
            return "native"
        if kernel == "auto":
            kernels._say_once(reason)
    if kernel == "native":
        raise refusal("kernel", "be one that can run this here", repr(kernel), reason)
    return "eager"


def _broken(key: str) -> str | None:
    try:
        compiled.library(by_key(key))
    except BuildError as e:
        return str(e)
    return None


_broken._dynamo_marked_constant = True  # type: ignore[attr-defined]  # cf. `kernels`


# ------------------------------------------------------------------ torch.library ops
# torch.compile sees them whole.

BACKENDS = {"eager": attending, "native": compiled}


@torch.library.custom_op("urgates::attend", mutates_args=())
def _attend(
    key: str, heads: int, kernel: str, training: bool, tensors: Sequence[Tensor | None]
) -> list[Tensor]:
    ms, kept = BACKENDS[kernel].forward(by_key(key), heads, Inputs._make(tensors), training)
    return [ms, *kept]


@_attend.register_fake
def _(key, heads, kernel, training, tensors):
    x = Inputs._make(tensors)
    shapes = BACKENDS[kernel].kept_shapes(heads, x, training)
    return [x.m.new_empty(s) for s in ((*x.gx.shape[:3], *x.m.shape[2:]), *shapes)]


@torch.library.custom_op("urgates::attend_backward", mutates_args=())
def _attend_backward(
    key: str,
    heads: int,
    kernel: str,
    tensors: Sequence[Tensor | None],
    ms: Tensor,
    kept: Sequence[Tensor],
    dms: Tensor,
) -> list[Tensor]:
    backend = BACKENDS[kernel]
    found = backend.backward(
        by_key(key), heads, Inputs._make(tensors), ms, backend.Kept._make(kept), dms
    )
    return [a for a in found if a is not None]


@_attend_backward.register_fake
def _(key, heads, kernel, tensors, ms, kept, dms):
    return [
        a.new_empty(a.shape) for a in Inputs._make(tensors)._replace(keep=None) if a is not None
    ]


# ------------------------------------------------------------------ autograd and the model axis


def differentiable(r: Recurrence, heads: int, x: Inputs, dms: Tensor) -> Inputs:
    """The gradients where they will be differentiated again: by autograd through the reference."""
    # views of their own: the tensors may depend on one another
    own = Inputs._make(None if a is None else a.view_as(a) for a in x)
    wanted = [a for a in own if a is not None and a.requires_grad]
    reference = attending.reference(r, heads, own)
    found = iter(torch.autograd.grad(reference, wanted, dms, create_graph=True))
    return Inputs._make(next(found) if a is not None and a.requires_grad else None for a in own)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(key, heads, kernel, training, *tensors):
        return tuple(torch.ops.urgates.attend(key, heads, kernel, training, tensors))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.key, ctx.heads, ctx.kernel, _, *tensors = inputs
        ctx.save_for_backward(*tensors, *output)
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, dms, *_):
        saved, n = ctx.saved_tensors, len(Inputs._fields)
        x, ms, kept = saved[:n], saved[n], saved[n + 1 :]
        if dms is None:
            return (None,) * (4 + n)
        if torch.is_grad_enabled():
            found = differentiable(by_key(ctx.key), ctx.heads, Inputs(*x), dms)
        else:
            run = torch.ops.urgates.attend_backward
            found = run(ctx.key, ctx.heads, ctx.kernel, x, ms, kept, dms)
            at = Inputs._fields.index("keep")  # has no gradient
            found = *found[:at], None, *found[at:]
        return None, None, None, None, *found

    @staticmethod
    def vmap(info, in_dims, *args):
        out = kernels._stack(_Scan, info, in_dims, *args)
        return out, (0,) * len(out)


def scan(r: Recurrence, heads: int, x: Inputs, kernel: str) -> Tensor:
    """The memories [M, T, B, S, F] by one of `KERNELS` but "auto"."""
    if kernel == "reference":
        return attending.reference(r, heads, x)
    return _Scan.apply(r.key, heads, kernel, torch.is_grad_enabled(), *x)[0]
