// The gated recurrence as one compiled loop over time; `source` splices one step into this file.
//
// @gate becomes each head's activation and complement, forget and input with their derivatives;
// @cell the rest of the step and @back its gradients, both as SymPy reads them out of the
// Python equations; @put hands the heads' gradients on to their pre-activations.
// Units lie in the lanes of a vector.  A step of some batch rows is one GEMM against packed
// weights, then everything pointwise while the row is in the cache.
// M models, T time steps, B batch, H hidden units, I inputs, G rows of the weights; S columns of
// the stash, D of a sample's gradients, K = H + I + 1 of what is multiplied.
// Batch rows never wait for each other, so threads share nothing; only the weights' gradients, sums
// over the batch, depend on the number of threads in their last digits.
// Last lanes are padding: they hold zeros or junk that is never stored.  Finite-math flags are not
// used: NaN must stay NaN.

#include <limits>
#include <vector>

/*@defines*/
#include "vectors.h"  // `inlined` puts these here
#include "product.h"
#include "threads.h"

namespace {

// ------------------------------------------------------------------ what Python hands over

template <class Number>
struct View {  // strides of model, time, batch (or weight row) and unit; 0 where broadcast
  const Number* p;
  N m, t, b, h;
  const Number* row(N model, N time, N batch) const { return p + model * m + time * t + batch * b; }
  T at(N model, N time, N batch, N j, N n) const {
    const Number* from = row(model, time, batch);
    return h ? load(from + j, n) : broadcast(from);
  }
};

struct Args {
  N models, time, batch, hidden, inputs, downsize, threads;
  View<Operand> x, w_x, b, w_h, b_u, h0;
  View<float> c0, keep_h, keep_c;
  View<Operand> dhs;
  View<float> dc_last;
  Operand* hs;  // [M, T, B, H or S]
  float *cs, *stash;
  Operand *d_x, *d_w_x, *d_b, *d_w_h, *d_b_u, *d_h0;  // d_x is null if not wanted
  float* d_c0;
};
}  // namespace

#include "row.h"

namespace {

// ------------------------------------------------------------------ h, x and 1 side by side
// One product of [h x 1] with [w_h w_x b] is a step's pre-activations, so that the input side never
// lies in memory.  A reset gate multiplies what comes from h only: there u has b_u in b's place and
// nothing from x, and `_x` names the product of [x 1] with u's own rows of [w_x b].

template <class From, class To>
void join(const Args& a, const Shape& s, N m, N t, N b, const From* h, To* out) {
  const float one = 1;
  copy(h, s.H, out), copy(a.x.row(m, t, b), s.I, out + s.H), copy(&one, 1, out + s.H + s.I);
}

void join_weights(const Args& a, const Shape& s, N m, T* packed, T* packed_x) {
  const N ld = deep(s.K) * PER_CELL, ld_x = deep(s.I + 1) * PER_CELL;
  std::vector<Operand> rows(s.G * ld), rows_x(RESET * s.H * ld_x);
  for (N g = 0; g < s.G; ++g) {
    Operand *row = rows.data() + g * ld, *input = row + s.H;
    copy(a.w_h.row(m, 0, g), s.H, row);
#if RESET
    const N j = g - s.row[u_];
    if (0 <= j && j < s.H) {
      if (a.b_u.p) copy(a.b_u.row(m, 0, 0) + j, 1, input + s.I);
      input = rows_x.data() + j * ld_x;
    }
#endif
    copy(a.w_x.row(m, 0, g), s.I, input);
    if (a.b.p) copy(a.b.row(m, 0, 0) + g, 1, input + s.I);
  }
  const std::vector<N> columns = s.columns();
  auto row = [&](N c) { return columns[c] < 0 ? nullptr : rows.data() + columns[c] * ld; };
  pack_transposed(row, s.K, s.vectors, packed);
#if RESET
  auto row_x = [&](N c) { return c < s.H ? rows_x.data() + c * ld_x : nullptr; };
  pack_transposed(row_x, s.I + 1, parts(s.H, W), packed_x);
#endif
}

// ------------------------------------------------------------------ forward

inline T hold(const View<float>& keep, N m, N t, N b, N j, N n, T next, T old) {
  if (!keep.p) return next;
  const T k = keep.at(m, t, b, j, n);
  return k * old + (1 - k) * next;
}

// Some rows of a model's batch through all steps.  Before step t: `carried` has h, a.cs at t - 1 c.
struct Forward {
  const Args& a;
  const Shape& s;
  const N m, first, rows;
  const T *w, *w_x;  // packed [K, columns of all heads], [I + 1, H]
  const N lda = apart(s.K), vectors = parts(s.H, W);
  std::vector<T> z, z_x;       // pre-activations [rows, columns]; of u from x alone [rows, H]
  std::vector<T> carried;      // [rows, H]
  std::vector<Operand> joined; // [rows, K]

  Forward(const Args& a, const Shape& s, N m, N first, N rows, const T* w, const T* w_x)
      : a(a), s(s), m(m), first(first), rows(rows), w(w), w_x(w_x), z(rows * s.vectors),
        z_x(RESET * rows * vectors), carried(rows * vectors), joined(rows * lda) {}

  void run() {
    Row<false> row(s, a.downsize);  // a local, which lives in registers
    for (N b = 0; b < rows; ++b)
      for (N j = 0; j < s.H; j += W)
        carried[b * vectors + j / W] = a.h0.at(m, 0, first + b, j, s.H - j);
    for (N t = 0; t < a.time; ++t) {
      products(t);
      for (N b = 0; b < rows; ++b) step(row, t, b);
    }
  }

  void products(N t) {  // z and z_x of the step, from h and x
    for (N b = 0; b < rows; ++b) {
      const float* h_row = (const float*)(carried.data() + b * vectors);
      join(a, s, m, t, first + b, h_row, joined.data() + b * lda);
    }
    gemm(joined.data(), lda, w, s.K, s.vectors, rows, z.data(), false);
    if (RESET) gemm(joined.data() + s.H, lda, w_x, s.I + 1, vectors, rows, z_x.data(), false);
  }

  void step(Row<false>& row, N t, N in) {  // everything pointwise; `in` is the row's place among these rows
    const N b = first + in, at = (m * a.time + t) * a.batch + b, before = a.batch * s.H;
    T* h_row = carried.data() + in * vectors;
    row.z = z.data() + in * s.vectors;
    if (a.stash) row.stash = a.stash + at * s.S;
    row.begin();
    for (N j = 0; j < s.H; j += W) {
      const N n = s.H - j;
      const T old_h = h_row[j / W];
      /*@gate*/
#if RESET
      const T v = row.keep(HEADS, j, row.pre(u_, j)), x_u = z_x[in * vectors + j / W];
#else
      const T z_u = row.pre(u_, j);
#endif
#if LSTM
      const T state = load((t ? a.cs + at * s.H - before : a.c0.row(m, 0, b)) + j, n);
#else
      const T state = old_h;
#endif
      /*@cell*/
      row.keep(u_, j, u);
#if LSTM
      row.keep(HEADS, j, tanh_c);
      store(a.cs + at * s.H + j, hold(a.keep_c, m, t, b, j, n, next, state), n);
#endif
      store(a.hs + at * s.H + j, h_row[j / W] = hold(a.keep_h, m, t, b, j, n, h, old_h), n);
    }
  }
};

// ------------------------------------------------------------------ backward

// Gradients of the weights over the batch rows of one cut.  [x 1] has few columns, which would fill
// a vector badly: there the gradients lie in the lanes, u's second ones last (see `Shape`).
struct Sums {
  std::vector<T> h, x;  // [G, H], [I + 1, D]
  explicit Sums(const Shape& s) : h(s.G * parts(s.H, W)), x((s.I + 1) * parts(s.D, W)) {}

  // over so many samples: d [samples, D] and joined [samples, K], both used up, `ldd` and `ldj`
  // vectors apart; packed [samples, H] is to be filled
  void add(const Shape& s, T* d, N ldd, T* joined, N ldj, N samples, T* packed) {
    const N vectors = parts(s.H, W), first = s.H / W, depth = deep(samples);
    pack([&](N k) { return (const float*)(joined + k * ldj); }, samples, vectors, packed, s.H);
    pair(d, ldd, ldd, samples), pair(joined + first, ldj, ldj - first, samples);
    const Cell *d_cells = (const Cell*)d, *x_cells = (const Cell*)joined + s.H;
    gemm(d_cells, 1, ldd * W, packed, 0, depth, vectors, s.G, h.data(), true);
    gemm(x_cells, 1, ldj * W, d, ldd, depth, parts(s.D, W), s.I + 1, x.data(), true);
  }
};

// The same rows, from the last step to the first.  Before step t: `dh` and `dc` are the gradients
// of its h and c by way of the steps after it; `d_rows` and `joined` have `filled` samples of these
// that `sums` has not seen yet: many at once make a product worth while.
struct Backward {
  const Args& a;
  const Shape& s;
  const N m, first, rows;
  const T *w, *w_x;  // packed [G, H], [D, I]
  Sums& sums;
  const N vectors = parts(s.H, W), vectors_x = parts(s.I, W), lda = apart(s.K);
  const N stride = apart(s.D), capacity = rows * (DEPTH > rows ? DEPTH / rows : 1);
  std::vector<T> dh, dc, d_x;            // [rows, H], [rows, H], [rows, I]
  std::vector<T> d_rows, joined, packed; // [capacity, D], [capacity, K], room for `Sums::add`
  std::vector<Operand> d_low;            // the step's gradients as operands, if these are narrower
  N filled = 0;

  Backward(const Args& a, const Shape& s, N m, N first, N rows, const T* w, const T* w_x, Sums& sums)
      : a(a), s(s), m(m), first(first), rows(rows), w(w), w_x(w_x), sums(sums),
        dh(rows * vectors), dc(rows * vectors), d_x(rows * vectors_x),
        d_rows(capacity * stride / W), joined(capacity * lda / W),
        packed(deep(capacity) * vectors), d_low(LOW * rows * stride) {}

  float* gradients(N in) { return (float*)d_rows.data() + (filled + in) * stride; }

  void run() {
    Row<true> row(s, a.downsize);
    for (N b = 0; LSTM && b < rows; ++b)
      for (N j = 0; j < s.H; j += W)
        dc[b * vectors + j / W] = a.dc_last.at(m, 0, first + b, j, s.H - j);
    for (N t = a.time - 1; t >= 0; --t) {
      for (N b = 0; b < rows; ++b) step(row, t, b);
      products(t);
      filled += rows;
      if (filled == capacity || !t) add();
    }
    for (N b = 0; b < rows; ++b)
      for (N j = 0; j < s.H; j += W) {
        const N at = (m * a.batch + first + b) * s.H + j;
        store(a.d_h0 + at, dh[b * vectors + j / W], s.H - j);
        if (LSTM) store(a.d_c0 + at, dc[b * vectors + j / W], s.H - j);
      }
  }

  void step(Row<true>& row, N t, N in) {  // pointwise: to the pre-activations; leaves in dh, dc what bypasses them
    const N b = first + in, at = (m * a.time + t) * a.batch + b, before = a.batch * s.H;
    const Operand* h_row = t ? a.hs + at * s.H - before : a.h0.row(m, 0, b);
    join(a, s, m, t, b, h_row, (float*)joined.data() + (filled + in) * lda);
    row.stash = a.stash + at * s.S;
    row.dz = gradients(in);
    row.begin();
    for (N j = 0; j < s.H; j += W) {
      const N n = s.H - j;
      T& dh_j = dh[in * vectors + j / W];
      T d_h = a.dhs.at(m, t, b, j, n) + dh_j, held = 0.f;
      if (a.keep_h.p) {
        const T keep = a.keep_h.at(m, t, b, j, n);
        held = keep * d_h, d_h = (1 - keep) * d_h;
      }
      const T u = row.kept(u_, j);
      /*@gate*/
#if LSTM
      const T state = load((t ? a.cs + at * s.H - before : a.c0.row(m, 0, b)) + j, n);
      const T tanh_c = row.kept(HEADS, j);
      T &dc_j = dc[in * vectors + j / W], d_c = dc_j, held_c = 0.f;
      if (a.keep_c.p) {
        const T keep = a.keep_c.at(m, t, b, j, n);
        held_c = keep * d_c, d_c = (1 - keep) * d_c;
      }
#else
      const T state = load(h_row + j, n);
#endif
#if RESET
      const T v = row.kept(HEADS, j);
#endif
      /*@back*/
#if LSTM
      dc_j = d_state + held_c, dh_j = held;
#else
      dh_j = d_state + held;
#endif
#if RESET
      store(row.dz + s.G + j, d_x_u, n);
      store(row.dz + s.row[u_] + j, d_v, n);
#else
      store(row.dz + s.row[u_] + j, d_z_u, n);
#endif
      /*@put*/
    }
    row.end();
    if (LOW) copy(row.dz, s.D, d_low.data() + in * stride);
  }

  void products(N t) {  // from the pre-activations to h and x
    const N here = (m * a.time + t) * a.batch + first;
    const Operand* d = LOW ? d_low.data() : (const Operand*)gradients(0);
    Ahead ahead;  // what the step before will read
    if (t) ahead.add(a.stash + (here - a.batch) * s.S, sizeof(float) * rows * s.S);
    if (t) ahead.add(a.dhs.row(m, t - 1, first), sizeof(Operand) * rows * s.H);
    if (t > 1) ahead.add(a.hs + (here - 2 * a.batch) * s.H, sizeof(Operand) * rows * s.H);
    if (t > 1 && LSTM) ahead.add(a.cs + (here - 2 * a.batch) * s.H, sizeof(float) * rows * s.H);
    gemm(d, stride, w, s.G, vectors, rows, dh.data(), true, ahead);
    if (!a.d_x) return;
    gemm(d, stride, w_x, s.D, vectors_x, rows, d_x.data(), false);
    for (N b = 0; b < rows; ++b)
      for (N j = 0; j < s.I; j += W)
        store(a.d_x + (here + b) * s.I + j, d_x[b * vectors_x + j / W], s.I - j);
  }

  void add() {
    sums.add(s, d_rows.data(), stride / W, joined.data(), lda / W, filled, packed.data());
    filled = 0;
  }
};

// gradients of rows of the weights: the sums of `cuts` cuts, always in one order
void weights(const Args& a, const Shape& s, N m, N first, N count, const Sums* cuts, N many) {
  auto total_x = [&](N at, Operand* out) {
    float x = 0;
    for (N i = 0; i < many; ++i) x += ((const float*)cuts[i].x.data())[at];
    copy(&x, 1, out);
  };
  const N vectors = parts(s.H, W), ldx = padded(s.D);
  for (N g = first; g < first + count; ++g) {
    for (N j = 0; j < vectors; ++j) {
      T x = 0.f;
      for (N i = 0; i < many; ++i) x = x + cuts[i].h[g * vectors + j];
      store(a.d_w_h + (m * s.G + g) * s.H + j * W, x, s.H - j * W);
    }
    N d = g;
#if RESET
    const N j = g - s.row[u_];
    if (0 <= j && j < s.H) {
      if (a.b_u.p) total_x(s.I * ldx + g, a.d_b_u + m * s.H + j);
      d = s.G + j;
    }
#endif
    for (N i = 0; i < s.I; ++i) total_x(i * ldx + d, a.d_w_x + (m * s.G + g) * s.I + i);
    if (a.b.p) total_x(s.I * ldx + d, a.d_b + m * s.G + g);
  }
}

// ------------------------------------------------------------------ all models

void run(const Args& a, bool back) {
  const Shape s(a);
  const N size = back ? deep(s.G) * parts(s.H, W) : deep(s.K) * s.vectors;
  const N size_x = back ? deep(s.D) * parts(s.I, W) : RESET * deep(s.I + 1) * parts(s.H, W);
  std::vector<T> packed(a.models * size), packed_x(a.models * size_x);
  const std::vector<Operand> zeros(s.I);
  parallel(a.models, a.threads, [&](N m) {
    T *w = packed.data() + m * size, *w_x = packed_x.data() + m * size_x;
    if (!back) return join_weights(a, s, m, w, w_x);
    pack([&](N g) { return a.w_h.row(m, 0, g); }, s.G, parts(s.H, W), w, s.H);
    auto row_x = [&](N g) {
      if (g >= s.G) return a.w_x.row(m, 0, g - s.G + s.row[u_]);
      return RESET && s.row[u_] <= g && g < s.row[u_] + s.H ? zeros.data() : a.w_x.row(m, 0, g);
    };
    if (a.d_x) pack(row_x, s.D, parts(s.I, W), w_x, s.I);
  });
  N cuts = a.models >= 4 * a.threads ? 1 : a.threads;  // of each model's batch
  if (cuts > a.batch) cuts = a.batch;
  std::vector<Sums> sums;
  if (back) sums.resize(a.models * cuts, Sums(s));
  parallel(a.models * cuts, a.threads, [&](N i) {
    const N m = i / cuts, first = i % cuts * a.batch / cuts;
    const N count = (i % cuts + 1) * a.batch / cuts - first;
    const T *w = packed.data() + m * size, *w_x = packed_x.data() + m * size_x;
    back ? Backward(a, s, m, first, count, w, w_x, sums[i]).run()
         : Forward(a, s, m, first, count, w, w_x).run();
  });
  if (!back) return;
  const N shares = a.threads;  // of each model's rows
  parallel(a.models * shares, a.threads, [&](N i) {
    const N m = i / shares, first = i % shares * s.G / shares;
    const N count = (i % shares + 1) * s.G / shares - first;
    weights(a, s, m, first, count, sums.data() + m * cuts, cuts);
  });
}

}  // namespace

extern "C" int urgates_forward(const Args* a) { return answer(run, a, false); }
extern "C" int urgates_backward(const Args* a) { return answer(run, a, true); }
