"""The loops over time that triton.py launches: a text it specialises for one recurrence, no module.

There, `for HEAD in …` is written out head by head, `for PART in …` by blocks of the inner sum;
`if LSTM` and `if RESET` are decided; `COLUMNS` becomes the heads' columns.  As SymPy prints them
from the Python equations come `GATE`, the effective gates, and `SLOPES`, the same with their
derivatives; `CELL` and `BACK`, the rest of a step and its gradients; `NEXT`, what backward computes
again of `CELL`; `TAIL` and `SLOPE`, the distance to saturation and the derivative of an activation
of the gate's own.
A program holds a tile of batch rows `b` and hidden units `j` of one model and goes through time
with the state in registers.  With `DOT` its weights stay on the chip as well; programs that share
rows are `SLICES` of the hidden units, hand h (or its gradient) on through memory and meet once a
step.  Without, each step is a launch and the product, [M, B, ·], comes in as `z`.
G rows of the weights, H units, S columns of the stash, C neurons to a master unit (every C-th
column speaks for its chunk).  Gates, states and sums are float32 whatever the tensors are.
"""

import triton
import triton.language as tl

# one compilation for all of these
VARYING = ["T", "B", "start", "stop", "hm", "ht", "hb", "hj", "cm", "ct", "cb", "cj"]

# ------------------------------------------------------------------ activations, with complements


@triton.jit
def sigmoid(z):
    e = tl.exp(-tl.abs(z))
    large = 1 / (1 + e)
    small = e * large
    return tl.where(z >= 0, large, small), tl.where(z >= 0, small, large)


@triton.jit
def own(z):
    a = tl.abs(z)
    TAIL
    rest = 1 - tail
    return tl.where(z >= 0, rest, tail), tl.where(z >= 0, tail, rest)


@triton.jit
def own_slope(value, complement):
    u = tl.where(value < complement, value, complement)
    SLOPE
    return slope


@triton.jit
def tanh(z):
    e = tl.exp(-2 * tl.abs(z))
    far = (1 - e) / (1 + e)  # cancels near 0, where the series takes over
    s = z * z
    near = z * (1 + s * (-1 / 3 + s * (2 / 15 + s * (-17 / 315 + s * (62 / 2835)))))
    return tl.where(tl.abs(z) < 0.25, near, tl.where(z < 0, -far, far))


@triton.jit
def softmax(z, first):
    e = tl.exp(z - tl.max(z, 1)[:, None])
    return e / tl.sum(e * first, 1)[:, None]


@triton.jit
def _beyond(sum_1, last_1, sum_2, last_2):
    return sum_1 + last_1 + sum_2, last_2


@triton.jit
def cumax(p):  # the complement leaves out its own unit, which no subtraction does to the last digit
    above, _ = tl.associative_scan((tl.zeros_like(p), p), 1, _beyond, reverse=True)
    return tl.minimum(tl.cumsum(p, 1), 1.0), tl.minimum(above, 1.0)


@triton.jit
def cumax_gradient(d, p, first):
    q = tl.cumsum(d, 1, reverse=True)
    return p * (q - tl.sum(p * q * first, 1)[:, None])


@triton.jit
def _within(sum_1, end_1, sum_2, end_2):
    return tl.where(end_2 > 0, sum_2, sum_1 + sum_2), tl.maximum(end_1, end_2)


@triton.jit
def chunk_sum(d, j, C: tl.constexpr):  # complete in the first column of each chunk
    if C > 1:
        end = (j % C == C - 1).to(tl.int32)[None, :] + tl.zeros_like(d).to(tl.int32)
        d, _ = tl.associative_scan((d, end), 1, _within, reverse=True)
    return d


@triton.jit
def pack(value, complement):  # the smaller of the two, exact; the sign bit tells which
    return tl.where(value < complement, value, complement * -1.0)


@triton.jit
def unpack(s):
    small = tl.abs(s)
    negative = s.to(tl.int32, bitcast=True) < 0  # -0.0 counts
    return tl.where(negative, 1 - small, small), tl.where(negative, small, 1 - small)


# ------------------------------------------------------------------ memory and the meeting point


@triton.jit
def load(p, mask):
    return tl.load(p, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def before(first, rest, t, at_first, at_rest, mask):  # the state step t starts from
    x = tl.load(first + at_first, mask=mask & (t == 0), other=0.0).to(rest.dtype.element_ty)
    # past the first cache, which does not see what other programs write
    return tl.load(rest + at_rest, mask=mask & (t > 0), other=x, cache_modifier=".cg")


@triton.jit
def after(p, mask):
    return tl.load(p, mask=mask, other=0.0, cache_modifier=".cg")


@triton.jit
def weight(p, mask, OPERAND: tl.constexpr):
    return tl.load(p, mask=mask, other=0.0).to(OPERAND)


@triton.jit
def product(a, w, sum, PRECISION: tl.constexpr):
    return tl.dot(a.to(w.dtype), w, acc=sum, input_precision=PRECISION)


@triton.jit
def masked(keep, m, t, b, j, km, kt, kb, kj, mask):  # with strides, 0 where broadcast
    at = m * km + tl.cast(t, tl.int64) * kt + b.to(tl.int64) * kb  # of t first: nothing to hoist
    return load(keep + at[:, None] + (j * kj)[None, :], mask)


@triton.jit
def place(signals, B, BM: tl.constexpr, SLICES: tl.constexpr, WAIT: tl.constexpr):
    if WAIT:  # in order of arrival: a group is complete before the next one starts
        n = tl.atomic_add(signals, 1)
    else:
        n = tl.program_id(0)
    group, tiles = n // SLICES, tl.cdiv(B, BM)
    m = (group // tiles).to(tl.int64)
    b = group % tiles * BM + tl.arange(0, BM)
    return m, b, n % SLICES, signals + (group + 1) * 32


@triton.jit
def arrive(signal, WAIT: tl.constexpr):
    tl.debug_barrier()  # this program's stores, for its own threads and before the signal
    if WAIT:
        tl.atomic_add(signal, 1, sem="release", scope="gpu")


@triton.jit
def wait(signal, target):
    while tl.atomic_add(signal, 0, sem="acquire", scope="gpu") < target:
        pass


# ------------------------------------------------------------------ forward


@triton.jit(do_not_specialize=VARYING)
def forward(
    gx, z, w_h, b_u, h0, hs, cs, stash, carry, keep_h, keep_c, signals,
    T, B, start, stop, hm, ht, hb, hj, cm, ct, cb, cj,
    H: tl.constexpr, C: tl.constexpr, BM: tl.constexpr, BH: tl.constexpr, BK: tl.constexpr,
    WIDTH: tl.constexpr, SLICES: tl.constexpr, DOT: tl.constexpr, WAIT: tl.constexpr,
    EAGER: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    m, b, part, signal = place(signals, B, BM, SLICES, WAIT)
    j = part * BH + tl.arange(0, BH)
    units, rows = (j < H)[None, :], (b < B)[:, None]
    here, first = rows & units, (j % C == 0)[None, :]
    COLUMNS
    row = (m * B + b)[:, None]
    if DOT:
        for PART in PARTS:
            if BK > PART * WIDTH:
                k_PART = PART * WIDTH + tl.arange(0, WIDTH)
                inner_PART = (k_PART < H)[None, :]
                for HEAD in HEADS:
                    w_at = (m * G + column_HEAD)[None, :] * H + k_PART[:, None]
                    w_HEAD_PART = weight(w_h + w_at, units & (k_PART < H)[:, None], OPERAND)
    if b_u is not None:
        bias = load(b_u + m * H + j, j < H)[None, :]
    # Before step t: `state` [BM, BH] is c (h of a GRU), and hs [M, T, B, H] has h up to t - 1,
    # once this step's signal has arrived from all slices.
    state = load(carry + row * H + j, here)
    for t in range(start, stop):
        at = ((m * T + t) * B + b)[:, None]
        # ---- pre-activations: x_HEAD from the input, r_HEAD from h
        for HEAD in HEADS:
            x_HEAD = load(gx + at * G + column_HEAD, here)
        if DOT:
            if WAIT:
                if t > start:
                    wait(signal, (t - start) * SLICES)
            for PART in PARTS:
                if BK > PART * WIDTH:  # all loads first: they take long, but not longer together
                    at_first, at_rest = row * H + k_PART, (at - B) * H + k_PART
                    h_PART = before(h0, hs, t, at_first, at_rest, rows & inner_PART)
            for HEAD in HEADS:
                r_HEAD = tl.zeros((BM, BH), tl.float32)
            for PART in PARTS:
                if BK > PART * WIDTH:
                    for HEAD in HEADS:
                        r_HEAD = product(h_PART, w_HEAD_PART, r_HEAD, PRECISION)
        else:
            for HEAD in HEADS:
                r_HEAD = load(z + row * G + column_HEAD, here)
        # ---- activations HEAD and their complements HEAD_c; p_HEAD is an ordered head's softmax
        for HEAD in SIGMOIDS:
            HEAD, HEAD_c = sigmoid(x_HEAD + r_HEAD)
        for HEAD in OWN:
            HEAD, HEAD_c = own(x_HEAD + r_HEAD)
        for HEAD in ORDERED:
            p_HEAD = softmax(tl.where(units, x_HEAD + r_HEAD, -float("inf")), first)
        for HEAD in RISING:
            HEAD, HEAD_c = cumax(p_HEAD * first)
        for HEAD in FALLING:
            HEAD_c, HEAD = cumax(p_HEAD * first)
        # ---- the step, then what holds its state
        GATE
        v = r_u
        if b_u is not None:
            v += bias
        z_u = x_u + v
        CELL
        old = state
        if LSTM:
            if keep_c is not None:
                keep = masked(keep_c, m, t, b, j, cm, ct, cb, cj, here)
                next = keep * state + (1 - keep) * next
            if keep_h is not None:
                old = before(h0, hs, t, row * H + j, (at - B) * H + j, here).to(tl.float32)
        if keep_h is not None:
            keep = masked(keep_h, m, t, b, j, hm, ht, hb, hj, here)
            h = keep * old + (1 - keep) * h
        if LSTM:
            state = next
        else:
            state = h
        # ---- h first, which the other slices wait for
        tl.store(hs + at * H + j, h, mask=here)
        if DOT:
            arrive(signal, WAIT)
        if LSTM:
            tl.store(cs + at * H + j, state, mask=here)
        if stash is not None:
            for HEAD in POINTWISE:
                tl.store(stash + at * S + column_HEAD, pack(HEAD, HEAD_c), mask=own_HEAD)
            for HEAD in ORDERED:
                tl.store(stash + at * S + column_HEAD, p_HEAD, mask=own_HEAD)
            tl.store(stash + at * S + column_u, u, mask=here)
            if RESET:
                tl.store(stash + at * S + G + j, v, mask=here)
    tl.store(carry + row * H + j, state, mask=here)


# ------------------------------------------------------------------ backward


@triton.jit(do_not_specialize=VARYING)
def backward(
    dhs, z, w_h, first_state, states, stash, d_gx, d_rh, carry_h, carry_c, keep_h, keep_c, signals,
    T, B, start, stop, hm, ht, hb, hj, cm, ct, cb, cj,
    H: tl.constexpr, C: tl.constexpr, BM: tl.constexpr, BH: tl.constexpr, BK: tl.constexpr,
    WIDTH: tl.constexpr, SLICES: tl.constexpr, DOT: tl.constexpr, WAIT: tl.constexpr,
    EAGER: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    m, b, part, signal = place(signals, B, BM, SLICES, WAIT)
    j = part * BH + tl.arange(0, BH)
    units, rows = (j < H)[None, :], (b < B)[:, None]
    here, first = rows & units, (j % C == 0)[None, :]
    COLUMNS
    row = (m * B + b)[:, None]
    if DOT:
        for PART in PARTS:
            if BK > PART * WIDTH:
                k_PART = PART * WIDTH + tl.arange(0, WIDTH)
                inner_PART = rows & (k_PART < H)[None, :]
                for HEAD in HEADS:
                    w_at = (m * G + start_HEAD + k_PART)[:, None] * H + j[None, :]
                    w_HEAD_PART = weight(w_h + w_at, units & (k_PART < H)[:, None], OPERAND)
    # Before step t: dh and dc [BM, BH] are the gradients of its h and c by way of the steps after
    # it, but for what the product of step t + 1's d_rh [M, T, B, G] brings, which comes next.
    dh = load(carry_h + row * H + j, here)
    if LSTM:
        dc = load(carry_c + row * H + j, here)
    for back in range(start, stop):
        t = T - 1 - back
        at = ((m * T + t) * B + b)[:, None]
        for HEAD in HEADS:
            s_HEAD = tl.load(stash + at * S + column_HEAD, mask=here, other=0.0)
        if RESET:
            v = tl.load(stash + at * S + G + j, mask=here, other=0.0)
        state = before(first_state, states, t, row * H + j, (at - B) * H + j, here)
        d_h = load(dhs + at * H + j, here) + dh
        if DOT:
            if WAIT:
                if back > start:
                    wait(signal, (back - start) * SLICES)
            for PART in PARTS:
                if BK > PART * WIDTH:
                    for HEAD in HEADS:
                        if EAGER:  # as above, where there are registers for it
                            at_next = (at + B) * G + start_HEAD + k_PART
                            n_HEAD_PART = after(d_rh + at_next, inner_PART & (back > 0))
            for PART in PARTS:
                if BK > PART * WIDTH:
                    for HEAD in HEADS:
                        if not EAGER:
                            at_next = (at + B) * G + start_HEAD + k_PART
                            n_HEAD_PART = after(d_rh + at_next, inner_PART & (back > 0))
                        d_h = product(n_HEAD_PART, w_HEAD_PART, d_h, PRECISION)
        else:
            d_h += load(z + row * H + j, here)
        # ---- what the step computed, from the stash
        for HEAD in POINTWISE:
            HEAD, HEAD_c = unpack(s_HEAD.to(tl.float32))
        for HEAD in ORDERED:
            p_HEAD = s_HEAD.to(tl.float32)
        for HEAD in RISING:
            HEAD, HEAD_c = cumax(p_HEAD * first)
        for HEAD in FALLING:
            HEAD_c, HEAD = cumax(p_HEAD * first)
        u, state = s_u.to(tl.float32), state.to(tl.float32)
        SLOPES
        # ---- past what held the states, and back through the step
        dh = tl.zeros_like(d_h)
        if keep_h is not None:
            dh = masked(keep_h, m, t, b, j, hm, ht, hb, hj, here) * d_h
            d_h -= dh
        if LSTM:
            held = tl.zeros_like(d_h)
            d_c = dc
            if keep_c is not None:
                held = masked(keep_c, m, t, b, j, cm, ct, cb, cj, here) * d_c
                d_c -= held
        NEXT
        BACK
        if LSTM:
            dc = d_state + held
        else:
            dh += d_state
        # ---- from activations to pre-activations
        for HEAD in LOGISTIC:
            d_HEAD = d_HEAD * HEAD * HEAD_c
        for HEAD in OWN:
            d_HEAD = d_HEAD * own_slope(HEAD, HEAD_c)
        for HEAD in CHUNKED:
            d_HEAD = chunk_sum(d_HEAD, j, C)
        for HEAD in RISING:
            d_HEAD = cumax_gradient(d_HEAD, p_HEAD, first)
        for HEAD in FALLING:
            d_HEAD = cumax_gradient(-d_HEAD, p_HEAD, first)
        for HEAD in OTHERS:
            tl.store(d_rh + at * G + column_HEAD, d_HEAD, mask=own_HEAD)
        if RESET:  # the hidden state saw u's gradient behind the reset gate
            tl.store(d_gx + at * G + column_u, d_x_u, mask=here)
            tl.store(d_rh + at * G + column_u, d_v, mask=here)
        else:
            tl.store(d_rh + at * G + column_u, d_z_u, mask=here)
        if DOT:
            arrive(signal, WAIT)
        if RESET:
            for HEAD in OTHERS:
                tl.store(d_gx + at * G + column_HEAD, d_HEAD, mask=own_HEAD)
    tl.store(carry_h + row * H + j, dh, mask=here)
    if LSTM:
        tl.store(carry_c + row * H + j, dc, mask=here)
