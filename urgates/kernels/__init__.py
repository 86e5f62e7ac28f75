"""One recurrence, several back ends, one differentiable op.

`scan` is what layers call.  Its back ends are `torch.library` ops (so `torch.compile` sees them
whole), wrapped in two `autograd.Function`s whose `vmap` rule adds to the leading model axis: a
sweep of stacked models arrives at a kernel as one call.  Double backward takes the reference.

A step stands once, in Python: `reference.step`.  SymPy reads gate and cell out of it, derives their
way back (`urgates.tape`, and φ' of an activation beyond sigmoid and cumax) and prints both into the
compiled kernels.  Each back end has by hand, and the tests hold against autograd through the
reference: held states, the sigmoid's f(1 - f), cumax's softmax and sums, and the products.
"""

from __future__ import annotations

import warnings
from functools import cache

import torch
from torch import Tensor

from urgates.checks import choice, refusal
from urgates.kernels import eager, native, reference, triton
from urgates.kernels.native import memory
from urgates.kernels.reference import Inputs, Recurrence, States, by_key, wide

__all__ = [
    "Inputs",
    "Recurrence",
    "available",
    "choose",
    "release_buffers",
    "scan",
    "unavailable",
]

BACKENDS = {"triton": triton, "native": native, "eager": eager}
FASTEST = {"cuda": "triton", "cpu": "native"}  # what "auto" takes there, else "eager"
_ABOUT = {
    "reference": "plain torch with an autograd graph per step: the truth, and slow",
    "eager": "torch ops without a graph per step, on any device",
    "native": "a compiled loop, float32 and bfloat16 on the CPU; compiles at its first use",
    "triton": "Triton kernels, float32 and 16 bits, on a GPU; compile at their first use",
}


def unavailable() -> dict[str, str]:
    """The back ends that cannot run here; the value says why in one line."""
    no_compiler = None if native.compiler() else "it needs a C++ compiler (c++, g++, clang++, CXX)"
    reasons = {"native": no_compiler, "triton": triton.missing()}
    return {name: reason for name, reason in reasons.items() if reason}


def available() -> dict[str, str]:
    """The back ends that run here; the value says what each is."""
    return {name: about for name, about in _ABOUT.items() if name not in unavailable()}


def release_buffers() -> int:
    """Give the native kernel's idle memory back to the system; returns how many bytes.

    That kernel uses large blocks again, as fresh ones cost as much time as the recurrence.  At most
    2 GiB or an eighth of the machine's memory lie idle, the longest idle ones go first.
    """
    return memory.pool.release()


def choose(kernel: str, r: Recurrence | None = None, x: Tensor | None = None) -> str:
    """The back end that `kernel` ("auto" or a name) stands for.

    Args:
        r, x: what is to run, and one of its tensors; without them "auto" stays "auto".
    Raises:
        ValueError: for an unknown name, and for a back end that cannot run `r` on `x`.
    """
    choice("kernel", kernel, ("auto", "reference", *BACKENDS))
    if r is None or x is None:
        return kernel
    name = FASTEST.get(x.device.type, "eager") if kernel == "auto" else kernel
    if name in ("eager", "reference"):
        return name
    reason = BACKENDS[name].unfit(x)
    if reason is None:
        reason = _broken(name, r.key, x.dtype == torch.bfloat16)
        if reason is None:
            return name
        if kernel == "auto":
            _say_once(reason)
    if kernel != "auto":
        raise refusal("kernel", "be one that can run this here", repr(kernel), reason)
    return "eager"


def _broken(name: str, key: str, low: bool) -> str | None:
    """Why a back end that would fit cannot be had."""
    if name == "triton" and (reason := triton.missing()):
        return reason
    try:
        BACKENDS[name].library(by_key(key), *([low] if name == "native" else []))
    except (native.BuildError, triton.BuildError) as e:
        return str(e)
    return None


# torch.compile need not trace how kernels are built: torch.compiler.assume_constant_result, spelled
# out, as calling it imports the compiler (and Triton), a second of everyone's time
_broken._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _backend(kernel: str, r: Recurrence, x: Tensor):
    return BACKENDS[choose(kernel, r, x)]  # asked inside the ops, where tensors are real


@cache
def _say_once(reason: str) -> None:
    warnings.warn(f"the slower kernel 'eager' runs: {reason}", stacklevel=2)


def scan(r: Recurrence, given: Inputs, kernel: str = "auto") -> tuple[Tensor, Tensor]:
    """Run a gated recurrence over a sequence, for one model or for M of them at once.

    Args:
        r: cell and gate.
        given: the tensors, all with the models' axis (of size M or 1) or all without.
        kernel: "auto" or a name of `available()`.
    Returns:
        hidden states [T, B, H] or [M, T, B, H], and the last cell state (zeros for a GRU).
    Raises:
        ValueError: for tensors that do not fit together, and for a kernel that cannot run.
    """
    _check(r, given)
    single = given.x.dim() == 3
    if single:
        given = Inputs._make(None if a is None else a.unsqueeze(0) for a in given)
    models = len(given.x)
    inputs = Inputs._make(None if a is None else a.expand(models, *a.shape[1:]) for a in given)
    if choose(kernel) == "reference":
        hs, cs = reference.scan(r, inputs)
        c_last = cs[:, -1] if r.cell == "lstm" and cs.shape[1] else inputs.c0
    else:
        hs, c_last, *_ = _Scan.apply(r.key, kernel, torch.is_grad_enabled(), *inputs)
    # not hs[0], whose backward would fill and copy a tensor of zeros
    return (hs.squeeze(0), c_last.squeeze(0)) if single else (hs, c_last)


def _check(r: Recurrence, x: Inputs) -> None:
    """Refuse what a kernel would read as something else: devices, types and shapes by name."""
    (T, B, inputs), (G, H) = x.x.shape[-3:], x.w_h.shape[-2:]
    shapes = {"w_x": (G, inputs), "b": (G,), "b_u": (H,), "h0": (B, H), "c0": (B, H)}
    rows = r.rows(H, r.downsize(G, H))
    if G != max(part.stop for part in rows.values()):
        raise refusal("w_h", f"have the rows of {', '.join(r.heads)}", f"{G} for H = {H}")
    for name, a in x._asdict().items():
        if a is None:
            continue
        if a.device != x.x.device:
            raise refusal(name, f"be on {x.x.device}, where x is", str(a.device))
        if a.dtype != x.x.dtype and name not in ("c0", "keep_h", "keep_c"):  # wide beside 16 bits
            raise refusal(name, f"be of {x.x.dtype}, as x is", str(a.dtype))
        shape, given = shapes.get(name), tuple(a.shape)
        if shape and given[-len(shape) :] != shape:
            raise refusal(name, f"have shape [..., {str(shape)[1:-1]}]", str(list(given)))
        if name.startswith("keep") and any(
            n not in (1, full) for n, full in zip(given[-3:], (T, B, H), strict=True)
        ):
            raise refusal(name, f"broadcast to {[T, B, H]}", str(list(given)))


# ------------------------------------------------------------------ torch.library ops
# Their schemas are flat; everything behind them takes `Inputs` and `States`.


def _as_given(x: Tensor):
    """Where dtypes stay as they are: backward may be called inside autocast."""
    return torch.autocast(x.device.type, enabled=False)


@torch.library.custom_op("urgates::scan", mutates_args=())
def _scan(
    key: str,
    kernel: str,
    training: bool,
    x: Tensor,
    w_x: Tensor,
    b: Tensor | None,
    w_h: Tensor,
    b_u: Tensor | None,
    h0: Tensor,
    c0: Tensor,
    keep_h: Tensor | None,
    keep_c: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r, inputs = by_key(key), Inputs(x, w_x, b, w_h, b_u, h0, c0, keep_h, keep_c)
    with _as_given(x):
        states = _backend(kernel, r, x).forward(r, inputs, training)
    c_last = states.cs[:, -1] if states.cs.numel() else c0
    return states.hs, c_last.to(c0.dtype, copy=True), states.cs, states.stash


@_scan.register_fake
def _(key, kernel, training, *tensors):
    r, inputs = by_key(key), Inputs(*tensors)
    backend, new = _backend(kernel, r, inputs.x), inputs.x.new_empty
    width = backend.stash_width(r, inputs) if training else 0
    cell = inputs.x.dtype if backend is eager else torch.float32
    kept = torch.float32 if backend is native else inputs.x.dtype
    return (
        new(inputs.shape),
        torch.empty_like(inputs.c0),
        new(inputs.shape if r.cell == "lstm" else (len(inputs.x), 0), dtype=cell),
        new(*inputs.shape[:3], width, dtype=kept),
    )


@torch.library.custom_op("urgates::scan_backward", mutates_args=())
def _scan_backward(
    key: str,
    kernel: str,
    to_x: bool,
    x: Tensor,
    w_x: Tensor,
    b: Tensor | None,
    w_h: Tensor,
    b_u: Tensor | None,
    h0: Tensor,
    c0: Tensor,
    keep_h: Tensor | None,
    keep_c: Tensor | None,
    hs: Tensor,
    cs: Tensor,
    stash: Tensor,
    dhs: Tensor,
    dc_last: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    r, inputs = by_key(key), Inputs(x, w_x, b, w_h, b_u, h0, c0, keep_h, keep_c)
    backend = _backend(kernel, r, x)
    with _as_given(x):
        gradients = backend.backward(r, inputs, States(hs, cs, stash), dhs, dc_last, to_x)
    # an op's returns may alias neither its inputs nor one another
    return tuple(g.clone() if g is dc_last or not g.numel() else g for g in gradients)


@_scan_backward.register_fake
def _(key, kernel, to_x, *tensors):
    found = [
        tensors[0].new_empty(len(tensors[0]), 0) if a is None else a.new_empty(a.shape)
        for a in tensors[:7]
    ]
    return tuple(found if to_x else [tensors[0].new_empty(len(tensors[0]), 0), *found[1:]])


# ------------------------------------------------------------------ autograd and the model axis


def _stack(function, info, in_dims, *arguments):
    """The vmap rule of both functions: the mapped axis joins the leading model axis."""
    n = info.batch_size

    def join(x, dim):
        if not isinstance(x, Tensor):
            return x
        x = x.unsqueeze(0).expand(n, *x.shape) if dim is None else x.movedim(dim, 0)
        return x.flatten(0, 1)

    out = function.apply(*map(join, arguments, in_dims))
    return tuple(x.unflatten(0, (n, x.shape[0] // n)) for x in out)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(*arguments):
        return torch.ops.urgates.scan(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.key, ctx.kernel, _, *tensors = inputs
        hs, _, cs, stash = output
        ctx.save_for_backward(*tensors, hs, cs, stash)
        ctx.mark_non_differentiable(cs, stash)
        ctx.set_materialize_grads(False)  # zeros for the stash would be as long as the sequence

    @staticmethod
    def backward(ctx, dhs, dc_last, *_):
        saved = ctx.saved_tensors
        hs, c0, to_x = saved[-3], saved[6], ctx.needs_input_grad[3]
        dhs = hs.new_zeros(()).expand_as(hs) if dhs is None else dhs
        dc_last = torch.zeros_like(c0) if dc_last is None else dc_last
        # torch.compile cannot trace a Function inside a Function's backward: there, no second order
        run = torch.ops.urgates.scan_backward
        run = run if torch.compiler.is_compiling() else _ScanBackward.apply
        found = run(ctx.key, ctx.kernel, to_x, *saved, dhs, dc_last)
        found = [None if a is None else g for a, g in zip(saved, found, strict=False)]
        return None, None, None, found[0] if to_x else None, *found[1:], None, None

    @staticmethod
    def vmap(info, in_dims, *args):
        return _stack(_Scan, info, in_dims, *args), (0,) * 4


class _ScanBackward(torch.autograd.Function):
    @staticmethod
    def forward(*arguments):
        return torch.ops.urgates.scan_backward(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.key, _, _, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, *outer):
        """Second and higher derivatives, through the reference: exact, and as slow as it is."""
        r, further = by_key(ctx.key), torch.is_grad_enabled()
        saved = ctx.saved_tensors

        def partial(x):  # a view of its own: the saved tensors may depend on one another
            return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()

        with torch.enable_grad(), _as_given(saved[0]):
            *tensors, _, _, _, dhs, dc_last = (None if x is None else partial(x) for x in saved)
            hs, cs = reference.scan(r, Inputs(*map(wide, tensors)))
            states = [(hs, wide(dhs))]
            states += [(cs[:, -1], wide(dc_last))] if r.cell == "lstm" else []
            primal = [(x, v) for x, v in zip(tensors[:7], outer, strict=True)]
            primal = [(x, v) for x, v in primal if x is not None and v is not None and v.numel()]
            first = torch.autograd.grad(
                [y for y, _ in states],
                [x for x, _ in primal],
                [dy for _, dy in states],
                create_graph=True,
                materialize_grads=True,
            )
            used = [(g, v) for g, (_, v) in zip(first, primal, strict=True) if g.requires_grad]
            found = iter(
                torch.autograd.grad(
                    [g for g, _ in used],
                    [x for x in (*tensors[:7], dhs, dc_last) if x is not None],
                    [v for _, v in used],
                    create_graph=further,
                    allow_unused=True,
                )
            )
        inner = [None if x is None else next(found) for x in tensors[:7]]
        return None, None, None, *inner, *[None] * 5, *found

    @staticmethod
    def vmap(info, in_dims, *args):
        return _stack(_ScanBackward, info, in_dims, *args), (0,) * 7
