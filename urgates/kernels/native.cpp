// The gated recurrence as one compiled loop over time; native.py splices one gate into this file.
//
// Units lie in the lanes of a vector.  A step of some batch rows is one GEMM against packed
// weights, then everything pointwise while the row is in the cache.
// Batch rows never wait for each other, so threads share nothing and results do not depend on them.
// A `head` is a row block of the weights.  Ordered (cumax) and master heads need the whole row and
// go through `Row`'s buffers; all others are activated where they are used.  Forward leaves every
// activation in the stash, so that backward needs neither the step's GEMM nor an exponential.  Last
// lanes are padding: they hold zeros or junk that is never stored.  Finite-math flags are not used:
// NaN must stay NaN.

#include <atomic>
#include <limits>
#include <system_error>
#include <thread>
#include <vector>

#include "vectors.h"  // native.py puts it here

/*@defines*/

// torch's own threads, where its OpenMP is GNU's: new ones would compete with these while they spin
typedef void Parallel(void (*)(void*), void*, unsigned, unsigned);
#if defined(__linux__)
extern "C" Parallel GOMP_parallel __attribute__((weak));
#else
constexpr Parallel* GOMP_parallel = nullptr;
#endif

namespace {

// ------------------------------------------------------------------ what Python hands over

struct View {  // strides of model, time, batch (or weight row) and unit; 0 where broadcast
  const float* p;
  N m, t, b, h;
  const float* row(N model, N time, N batch) const { return p + model * m + time * t + batch * b; }
  T at(N model, N time, N batch, N j, N n) const {
    return h ? load(row(model, time, batch) + j, n) : T(*row(model, time, batch));
  }
};

struct Args {
  N models, time, batch, hidden, downsize, threads;
  View gx, w_h, b_u, h0, c0, keep_h, keep_c, dhs, dc_last;
  float *hs, *cs, *stash;  // [M, T, B, H or S]
  float *d_gx, *d_rh, *d_w, *dh0, *dc0;
};

struct Shape {
  N H, S, G = 0, vectors = 0, width[HEADS], row[HEADS], vector[HEADS];
  explicit Shape(const Args& a) : H(a.hidden) {
    for (int i = 0; i < HEADS; ++i) {
      width[i] = KIND[i] & MASTER ? H / a.downsize : H;
      row[i] = G, vector[i] = vectors;
      G += width[i], vectors += parts(width[i], W);
    }
    S = G + (LSTM || RESET ? H : 0);  // tanh(c), or what reset multiplies, follows the heads
  }
  std::vector<N> columns() const {  // the weight row behind each column of the GEMM, -1 in padding
    std::vector<N> rows(vectors * W, -1);
    for (int i = 0; i < HEADS; ++i)
      for (N k = 0; k < width[i]; ++k) rows[vector[i] * W + k] = row[i] + k;
    return rows;
  }
};

// ------------------------------------------------------------------ one row of one step

constexpr bool whole_row(int head) { return KIND[head] & (ORDERED | MASTER); }
constexpr auto add = [](T a, T b) { return a + b; };

template <bool BACK>
struct Row {
  enum Slot { SOFTMAX, VALUE, COMPLEMENT, VALUES, COMPLEMENTS, GRADIENT, SLOTS };
  const Shape& s;
  N C, size;                 // C neurons share a unit of a master head
  std::vector<T> buffer;     // for heads that need the whole row, and one read past its end
  const float* x = nullptr;  // the step's gx
  const T* z = nullptr;      // the step's GEMM
  float* stash = nullptr;    // the step's activations; null if no backward follows
  float* dx = nullptr;       // where gradients of the pre-activations go

  Row(const Shape& shape, N downsize)
      : s(shape), C(downsize), size(parts(shape.H, W)), buffer((size * HEADS + 1) * SLOTS) {}

  float* slot(int head, int i) { return (float*)(buffer.data() + (SLOTS * head + i) * size); }
  T gx(int head, N j) const { return load(x + s.row[head] + j, s.width[head] - j); }
  T rh(int head, N j) const { return z[s.vector[head] + j / W]; }
  T pre(int head, N j) const { return gx(head, j) + rh(head, j); }

  float* stashed(int head, N j) { return stash + (head < HEADS ? s.row[head] : s.G) + j; }
  T kept(int head, N j) { return load(stashed(head, j), (head < HEADS ? s.width[head] : s.H) - j); }
  T keep(int head, N j, T a) {
    if (stash) store(stashed(head, j), a, (head < HEADS ? s.width[head] : s.H) - j);
    return a;
  }
  Pair logistic(int head, N j) {  // the smaller of value and complement is stashed, with a sign
    if (BACK) return both(kept(head, j));
    const Pair g = sigmoid(pre(head, j));
    keep(head, j, smaller(g));
    return g;
  }

  template <int head>
  Pair gate(N j) {
    if constexpr (!whole_row(head)) return logistic(head, j);
    else if (C % W == 0) return {slot(head, VALUE)[j / C], slot(head, COMPLEMENT)[j / C]};
    else
      return {load(slot(head, C > 1 ? VALUES : VALUE) + j, W),
              load(slot(head, C > 1 ? COMPLEMENTS : COMPLEMENT) + j, W)};
  }

  template <int head>  // d is the gradient of the activation
  void put(N j, T d, T value, T complement) {
    if constexpr (whole_row(head)) store(slot(head, GRADIENT) + j, d, W);
    else store(dx + s.row[head] + j, d * value * complement, s.H - j);
  }

  void begin() {
    for (int i = 0; i < HEADS; ++i)
      if (whole_row(i)) activate(i);
  }
  void end() {
    for (int i = 0; i < HEADS; ++i)
      if (whole_row(i)) backward(i);
  }
  void activate(int head);
  void cumax(int head, float* below, float* above);
  float exponentials(int head, float* p);
  void backward(int head);
};

template <bool BACK>
void Row<BACK>::activate(int head) {
  float *value = slot(head, VALUE), *complement = slot(head, COMPLEMENT);
  const N n = s.width[head];
  if (!(KIND[head] & ORDERED))
    for (N j = 0; j < n; j += W) {
      const Pair g = logistic(head, j);
      store(value + j, g.value, W), store(complement + j, g.complement, W);
    }
  else if (KIND[head] & FALLING) cumax(head, complement, value);
  else cumax(head, value, complement);
  if (C == 1 || C % W == 0) return;
  float *values = slot(head, VALUES), *complements = slot(head, COMPLEMENTS);
  for (N k = 0; k < n; ++k)
    for (N i = k * C; i < (k + 1) * C; ++i) values[i] = value[k], complements[i] = complement[k];
}

template <bool BACK>
float Row<BACK>::exponentials(int head, float* p) {  // of the pre-activations; returns their sum
  const N n = s.width[head];
  constexpr float LOWEST = -std::numeric_limits<float>::infinity();
  T top = LOWEST, sum = 0.f;
  for (N j = 0; j < n; j += W) {
    const T z = first(n - j, pre(head, j), LOWEST);
    store(p + j, z, W);
    top = greatest(top, z);
  }
  top = running<1>(greatest, top, LOWEST).v[W - 1];
  for (N j = 0; j < n; j += W) {
    const T e = first(n - j, exp(load(p + j, W) - top), 0.f);
    store(p + j, e, W);
    sum = sum + e;
  }
  return running<1>(add, sum).v[W - 1];
}

template <bool BACK>
void Row<BACK>::cumax(int head, float* below, float* above) {
  const N n = s.width[head];
  float* p = slot(head, SOFTMAX);
  const T scale = BACK ? T(1.f) : 1 / T(exponentials(head, p));
  float sum = 0, rest = 0;
  for (N j = 0; j < n; j += W) {
    const T e = BACK ? kept(head, j) : keep(head, j, load(p + j, W) * scale);
    const T up = running<1>(add, e) + sum;
    store(p + j, e, W);
    store(below + j, least(up, 1.f), W);
    sum = up.v[W - 1];
  }
  for (N j = (parts(n, W) - 1) * W; j >= 0; j -= W) {
    const T down = running<-1>(add, load(p + j, W)) + rest;
    store(above + j, least(shift<-1>(down, rest), 1.f), W);
    rest = down.v[0];
  }
}

template <bool BACK>
void Row<BACK>::backward(int head) {
  const N n = s.width[head];
  float *d = slot(head, GRADIENT), *out = dx + s.row[head];
  if (C > 1)
    for (N k = 0; k < n; ++k) {
      T sum = 0.f;
      for (N i = k * C, end = i + C; i < end; i += W)
        sum = sum + first(end - i, load(d + i, W), 0.f);
      d[k] = running<1>(add, sum).v[W - 1];  // k <= i: what is still to be read stays
    }
  if (!(KIND[head] & ORDERED)) {
    const float *value = slot(head, VALUE), *complement = slot(head, COMPLEMENT);
    for (N j = 0; j < n; j += W)
      store(out + j, load(d + j, W) * load(value + j, W) * load(complement + j, W), n - j);
    return;
  }
  const float* p = slot(head, SOFTMAX);  // d softmax = p (q - sum p q), q = sum of d from above
  const T sign = KIND[head] & FALLING ? -1.f : 1.f;
  float rest = 0;
  T mean = 0.f;
  for (N j = (parts(n, W) - 1) * W; j >= 0; j -= W) {
    const T q = running<-1>(add, sign * first(n - j, load(d + j, W), 0.f)) + rest;
    store(d + j, q, W);
    mean = mean + q * load(p + j, W);
    rest = q.v[0];
  }
  mean = running<1>(add, mean).v[W - 1];
  for (N j = 0; j < n; j += W)
    store(out + j, load(p + j, W) * (load(d + j, W) - mean), n - j);
}

// ------------------------------------------------------------------ the loops over time

void forward(const Args& a, const Shape& s, N m, N first, N rows, const T* w) {
  std::vector<T> z(rows * s.vectors);
  Row<false> row(s, a.downsize);
  for (N t = 0; t < a.time; ++t) {
    const N here = ((m * a.time + t) * a.batch + first) * s.H, step = a.batch * s.H;
    const float* h0 = t ? a.hs + here - step : a.h0.row(m, 0, first);
    const N ldh = t ? s.H : a.h0.b;
    gemm(h0, ldh, w, s.H, s.vectors, rows, z.data(), false);
    for (N b = first; b < first + rows; ++b) {
      const N at = here + (b - first) * s.H;
      const float* h_row = h0 + (b - first) * ldh;
      row.x = a.gx.row(m, t, b), row.z = z.data() + (b - first) * s.vectors;
      if (a.stash) row.stash = a.stash + (here / s.H + b - first) * s.S;
      row.begin();
      for (N j = 0; j < s.H; j += W) {
        const N n = s.H - j;
        const T old_h = load(h_row + j, n);
        /*@gate*/
#if LSTM
        const float* c_row = t ? a.cs + at - step : a.c0.row(m, 0, b);
        const T old_c = load(c_row + j, n);
        const T u = row.keep(u_, j, tanh(row.pre(u_, j))), o = row.logistic(o_, j).value;
        T c = forget * old_c + input * u, h = o * row.keep(HEADS, j, tanh(c));
        if (a.keep_c.p) {
          const T keep = a.keep_c.at(m, t, b, j, n);
          c = keep * old_c + (1 - keep) * c;
        }
        store(a.cs + at + j, c, n);
#else
        T v = row.rh(u_, j);
        if (a.b_u.p) v = v + a.b_u.at(m, 0, 0, j, n);
#if RESET
        v = row.keep(HEADS, j, v) * row.logistic(reset_, j).value;
#endif
        T h = forget * old_h + input * row.keep(u_, j, tanh(row.gx(u_, j) + v));
#endif
        if (a.keep_h.p) {
          const T keep = a.keep_h.at(m, t, b, j, n);
          h = keep * old_h + (1 - keep) * h;
        }
        store(a.hs + at + j, h, n);
      }
    }
  }
}

void backward(const Args& a, const Shape& s, N m, N first, N rows, const T* w) {
  const N vectors = parts(s.H, W);
  std::vector<T> dh(rows * vectors), dc(rows * vectors), d_v(vectors);
  Row<true> row(s, a.downsize);
  for (N b = 0; LSTM && b < rows; ++b)
    for (N j = 0; j < s.H; j += W)
      dc[b * vectors + j / W] = a.dc_last.at(m, 0, first + b, j, s.H - j);
  for (N t = a.time - 1; t >= 0; --t) {
    const N here = (m * a.time + t) * a.batch + first, step = a.batch * s.H;
    const float* h0 = t ? a.hs + here * s.H - step : a.h0.row(m, 0, first);
    const N ldh = t ? s.H : a.h0.b;
    for (N b = first; b < first + rows; ++b) {
      const N at = here + b - first;
      row.stash = a.stash + at * s.S;
      row.dx = a.d_gx + at * s.G;
      row.begin();
      for (N j = 0; j < s.H; j += W) {
        const N n = s.H - j;
        T& dh_j = dh[(b - first) * vectors + j / W];
        T d = a.dhs.at(m, t, b, j, n) + dh_j, held = 0.f;
        if (a.keep_h.p) {
          const T keep = a.keep_h.at(m, t, b, j, n);
          held = keep * d, d = (1 - keep) * d;
        }
        /*@gate*/
#if LSTM
        const float* c_row = t ? a.cs + at * s.H - step : a.c0.row(m, 0, b);
        const T state = load(c_row + j, n), u = row.kept(u_, j), tanh_c = row.kept(HEADS, j);
        const Pair o = row.logistic(o_, j);
        T &dc_j = dc[(b - first) * vectors + j / W], held_c = 0.f;
        T carrier = dc_j;
        if (a.keep_c.p) {
          const T keep = a.keep_c.at(m, t, b, j, n);
          held_c = keep * carrier, carrier = (1 - keep) * carrier;
        }
        carrier = carrier + d * o.value * (1 - tanh_c * tanh_c);
        row.put<o_>(j, d * tanh_c, o.value, o.complement);
        dc_j = carrier * forget + held_c;
        dh_j = held;
        const T du = carrier * input * (1 - u * u);
#else
        const float* h_row = h0 + (b - first) * ldh;
        const T state = load(h_row + j, n), carrier = d;
        const T u = row.kept(u_, j), du = carrier * input * (1 - u * u);
#if RESET
        const Pair reset = row.logistic(reset_, j);
        row.put<reset_>(j, du * row.kept(HEADS, j), reset.value, reset.complement);
        d_v[j / W] = du * reset.value;
#endif
        dh_j = carrier * forget + held;
#endif
        store(row.dx + s.row[u_] + j, du, n);
        /*@put*/
      }
      row.end();
#if RESET  // the hidden state saw u's gradient behind the reset gate
      std::memcpy(a.d_rh + at * s.G, row.dx, sizeof(float) * s.G);
      std::memcpy(a.d_rh + at * s.G + s.row[u_], d_v.data(), sizeof(float) * s.H);
#endif
    }
    gemm(a.d_rh + here * s.G, s.G, w, s.G, vectors, rows, dh.data(), true);
  }
  for (N b = 0; b < rows; ++b)
    for (N j = 0; j < s.H; j += W) {
      const N at = (m * a.batch + first + b) * s.H + j;
      store(a.dh0 + at, dh[b * vectors + j / W], s.H - j);
      if (LSTM) store(a.dc0 + at, dc[b * vectors + j / W], s.H - j);
    }
}

// d_w = sum over steps and rows of d_rh ⊗ (h before the step), for `count` rows of the weights
void weights(const Args& a, const Shape& s, N m, N first, N count) {
  const N vectors = parts(s.H, W), samples = a.time * a.batch;
  std::vector<T> sum(count * vectors), h(DEPTH * vectors);
  std::vector<float> d(count * DEPTH);
  for (N k = 0; k < samples; k += DEPTH) {
    const N depth = samples - k < DEPTH ? samples - k : DEPTH;
    auto at = [&](N i, N j) {
      const N q = k + i - a.batch;
      const float* row = q < 0 ? a.h0.row(m, 0, k + i) : a.hs + (m * samples + q) * s.H;
      return load(row + j * W, s.H - j * W);
    };
    pack(at, depth, vectors, h.data());
    for (N j = 0; j < parts(count, ROWS); ++j) {  // tile by tile, as `gemm` goes through them
      const N r = share(count, ROWS, j), nr = share(count, ROWS, j + 1) - r;
      const float* from = a.d_rh + (m * samples + k) * s.G + first + r;
      float* to = d.data() + r * depth;
      auto copy = [&](auto n) {
        for (N i = 0; i < depth; ++i) std::memcpy(to + i * n, from + i * s.G, sizeof(float) * n);
      };
      nr == ROWS ? copy(std::integral_constant<N, ROWS>()) : copy(nr);
    }
    gemm(d.data(), 0, h.data(), depth, vectors, count, sum.data(), true);
  }
  for (N r = 0; r < count; ++r)
    for (N j = 0; j < vectors; ++j)
      store(a.d_w + (m * s.G + first + r) * s.H + j * W, sum[r * vectors + j], s.H - j * W);
}

// ------------------------------------------------------------------ threads

template <class Work>
void parallel(N items, N threads, Work work) {
  struct Loop {
    Work& work;
    N items;
    std::atomic<N> next{0};
    static void run(void* p) {
      Loop& loop = *(Loop*)p;
      for (N i; (i = loop.next++) < loop.items;) loop.work(i);
    }
  } loop{work, items};
  if (threads > items) threads = items;
  if (threads > 1 && GOMP_parallel) return GOMP_parallel(Loop::run, &loop, threads, 0);
  std::vector<std::thread> pool;
  try {
    while ((N)pool.size() < threads - 1) pool.emplace_back(Loop::run, &loop);
  } catch (const std::system_error&) {  // no more threads to be had: those there do the work
  }
  Loop::run(&loop);
  for (auto& thread : pool) thread.join();
}

void run(const Args& a, bool back) {
  const Shape s(a);
  const N K = back ? s.G : s.H, vectors = back ? parts(s.H, W) : s.vectors;
  std::vector<T> packed(a.models * K * vectors);
  const std::vector<N> rows = s.columns();
  parallel(a.models, a.threads, [&](N m) {
    T* out = packed.data() + m * K * vectors;
    const auto row = [&](N i) { return i < 0 ? nullptr : a.w_h.row(m, 0, i); };
    if (back) pack([&](N k, N j) { return load(row(k) + j * W, s.H - j * W); }, K, vectors, out);
    else pack_transposed([&](N column) { return row(rows[column]); }, K, vectors, out);
  });
  auto each = [&](N total, auto work) {  // models, their `total` in so many cuts that threads share
    N cuts = a.models >= 4 * a.threads ? 1 : a.threads;
    if (cuts > total) cuts = total;
    parallel(a.models * cuts, a.threads, [&](N i) {
      const N first = i % cuts * total / cuts;
      work(i / cuts, first, (i % cuts + 1) * total / cuts - first);
    });
  };
  each(a.batch, [&](N m, N first, N count) {
    const T* w = packed.data() + m * K * vectors;
    back ? backward(a, s, m, first, count, w) : forward(a, s, m, first, count, w);
  });
  if (back) each(s.G, [&](N m, N first, N count) { weights(a, s, m, first, count); });
}
}  // namespace

extern "C" void urgates_forward(const Args* a) { run(*a, false); }
extern "C" void urgates_backward(const Args* a) { run(*a, true); }
