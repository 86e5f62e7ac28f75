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
  N models, time, batch, hidden, inputs, downsize, threads;
  View x, w_x, b, w_h, b_u, h0, c0, keep_h, keep_c, dhs, dc_last;
  float *hs, *cs, *stash;  // [M, T, B, H or S]
  float *d_gx, *d_rh, *d_w_x, *d_b, *d_w_h, *d_b_u, *d_h0, *d_c0;
};

struct Shape {
  N H, I, K, S, G = 0, vectors = 0, width[HEADS], row[HEADS], vector[HEADS];
  explicit Shape(const Args& a) : H(a.hidden), I(a.inputs), K(H + I + 1) {
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
  const T* z = nullptr;    // the step's pre-activations
  float* stash = nullptr;  // the step's activations; null if no backward follows
  float* dz = nullptr;     // where gradients of the pre-activations go

  Row(const Shape& shape, N downsize)
      : s(shape), C(downsize), size(parts(shape.H, W)), buffer((size * HEADS + 1) * SLOTS) {}

  float* slot(int head, int i) { return (float*)(buffer.data() + (SLOTS * head + i) * size); }
  T pre(int head, N j) const { return z[s.vector[head] + j / W]; }

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
    else store(dz + s.row[head] + j, d * value * complement, s.H - j);
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
  float *d = slot(head, GRADIENT), *out = dz + s.row[head];
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

// ------------------------------------------------------------------ h, x and 1 side by side
// One product of [h x 1] with [w_h w_x b] is a step's pre-activations, so that the input side never
// lies in memory.  A reset gate multiplies what comes from h only: there u has b_u in b's place and
// nothing from x, and `_x` names the product of [x 1] with u's own rows of [w_x b].

void join(const Args& a, const Shape& s, N m, N t, N b, const float* h, float* out) {
  std::memcpy(out, h, sizeof(float) * s.H);
  const float* x = a.x.row(m, t, b);
  for (N i = 0; i < s.I; ++i) out[s.H + i] = x[i * a.x.h];
  out[s.H + s.I] = 1;
}

void join_weights(const Args& a, const Shape& s, N m, T* packed, T* packed_x) {
  std::vector<float> rows(s.G * s.K), rows_x(RESET * s.H * (s.I + 1));
  for (N g = 0; g < s.G; ++g) {
    float *row = rows.data() + g * s.K, *input = row + s.H;
    std::memcpy(row, a.w_h.row(m, 0, g), sizeof(float) * s.H);
#if RESET
    const N j = g - s.row[u_];
    if (0 <= j && j < s.H) {
      input[s.I] = a.b_u.p ? a.b_u.row(m, 0, 0)[j] : 0;
      input = rows_x.data() + j * (s.I + 1);
    }
#endif
    for (N i = 0; i < s.I; ++i) input[i] = a.w_x.row(m, 0, g)[i];
    input[s.I] = a.b.p ? a.b.row(m, 0, 0)[g] : 0;
  }
  const std::vector<N> columns = s.columns();
  auto row = [&](N c) { return columns[c] < 0 ? nullptr : rows.data() + columns[c] * s.K; };
  pack_transposed(row, s.K, s.vectors, packed);
#if RESET
  auto row_x = [&](N c) { return c < s.H ? rows_x.data() + c * (s.I + 1) : nullptr; };
  pack_transposed(row_x, s.I + 1, parts(s.H, W), packed_x);
#endif
}

// ------------------------------------------------------------------ the loops over time

void forward(const Args& a, const Shape& s, N m, N first, N rows, const T* w, const T* w_x) {
  const N lda = padded(s.K), vectors = parts(s.H, W);
  std::vector<T> z(rows * s.vectors), z_x(RESET * rows * vectors);
  std::vector<float> joined(rows * lda);
  Row<false> row(s, a.downsize);
  for (N t = 0; t < a.time; ++t) {
    const N here = ((m * a.time + t) * a.batch + first) * s.H, step = a.batch * s.H;
    const float* h0 = t ? a.hs + here - step : a.h0.row(m, 0, first);
    const N ldh = t ? s.H : a.h0.b;
    for (N b = 0; b < rows; ++b)
      join(a, s, m, t, first + b, h0 + b * ldh, joined.data() + b * lda);
    gemm(joined.data(), lda, w, s.K, s.vectors, rows, z.data(), false);
    if (RESET) gemm(joined.data() + s.H, lda, w_x, s.I + 1, vectors, rows, z_x.data(), false);
    for (N b = first; b < first + rows; ++b) {
      const N at = here + (b - first) * s.H;
      const float* h_row = h0 + (b - first) * ldh;
      row.z = z.data() + (b - first) * s.vectors;
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
        T z_u = row.pre(u_, j);
#if RESET
        const T reset = row.logistic(reset_, j).value;
        z_u = z_x[(b - first) * vectors + j / W] + row.keep(HEADS, j, z_u) * reset;
#endif
        T h = forget * old_h + input * row.keep(u_, j, tanh(z_u));
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
      row.dz = a.d_gx + at * s.G;
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
        store(row.dz + s.row[u_] + j, du, n);
        /*@put*/
      }
      row.end();
#if RESET  // the hidden state saw u's gradient behind the reset gate
      std::memcpy(a.d_rh + at * s.G, row.dz, sizeof(float) * s.G);
      std::memcpy(a.d_rh + at * s.G + s.row[u_], d_v.data(), sizeof(float) * s.H);
#endif
    }
    gemm(a.d_rh + here * s.G, s.G, w, s.G, vectors, rows, dh.data(), true);
  }
  for (N b = 0; b < rows; ++b)
    for (N j = 0; j < s.H; j += W) {
      const N at = (m * a.batch + first + b) * s.H + j;
      store(a.d_h0 + at, dh[b * vectors + j / W], s.H - j);
      if (LSTM) store(a.d_c0 + at, dc[b * vectors + j / W], s.H - j);
    }
}

// Sum over steps and batch rows of d ⊗ [h x 1], for `count` rows of the weights; of [x 1] only with
// `input`.  Tile by tile, as `gemm` goes through them.
std::vector<float> outer(const Args& a, const Shape& s, N m, N first, N count, bool input) {
  const N columns = input ? s.I + 1 : s.K, vectors = parts(columns, W);
  const N samples = a.time * a.batch;
  const float* source = (input ? a.d_gx : a.d_rh) + m * samples * s.G + first;
  std::vector<T> sum(count * vectors), packed(DEPTH * vectors);
  std::vector<float> d(count * DEPTH), joined(s.H + padded(s.K) + W);
  for (N k = 0; k < samples; k += DEPTH) {
    const N depth = samples - k < DEPTH ? samples - k : DEPTH;
    auto at = [&](N i) {
      const N t = (k + i) / a.batch, b = (k + i) % a.batch;
      const float* h = t ? a.hs + (m * samples + k + i - a.batch) * s.H : a.h0.row(m, 0, b);
      join(a, s, m, t, b, h, joined.data());
      return joined.data() + (input ? s.H : 0);
    };
    pack(at, depth, vectors, packed.data(), columns);
    for (N j = 0; j < parts(count, ROWS); ++j) {
      const N r = share(count, ROWS, j), nr = share(count, ROWS, j + 1) - r;
      const float* from = source + k * s.G + r;
      float* to = d.data() + r * depth;
      auto copy = [&](auto n) {
        for (N i = 0; i < depth; ++i) std::memcpy(to + i * n, from + i * s.G, sizeof(float) * n);
      };
      nr == ROWS ? copy(std::integral_constant<N, ROWS>()) : copy(nr);
    }
    gemm(d.data(), 0, packed.data(), depth, vectors, count, sum.data(), true);
  }
  std::vector<float> out(count * columns);
  for (N r = 0; r < count; ++r)
    std::memcpy(out.data() + r * columns, sum.data() + r * vectors, sizeof(float) * columns);
  return out;
}

void weights(const Args& a, const Shape& s, N m, N first, N count) {
  const auto put = [&](const float* row, N g) {  // [w_x b] of row g
    std::memcpy(a.d_w_x + (m * s.G + g) * s.I, row, sizeof(float) * s.I);
    if (a.b.p) a.d_b[m * s.G + g] = row[s.I];
  };
  const std::vector<float> sum = outer(a, s, m, first, count, false);
  for (N r = 0; r < count; ++r) {
    const float* row = sum.data() + r * s.K;
    const N g = first + r;
    std::memcpy(a.d_w_h + (m * s.G + g) * s.H, row, sizeof(float) * s.H);
#if RESET
    const N j = g - s.row[u_];
    if (0 <= j && j < s.H) {
      if (a.b_u.p) a.d_b_u[m * s.H + j] = row[s.K - 1];
      continue;
    }
#endif
    put(row + s.H, g);
  }
#if RESET
  const N from = first < s.row[u_] ? s.row[u_] : first, end = s.row[u_] + s.H;
  const N to = first + count < end ? first + count : end;
  if (from >= to) return;
  const std::vector<float> sum_x = outer(a, s, m, from, to - from, true);
  for (N g = from; g < to; ++g) put(sum_x.data() + (g - from) * (s.I + 1), g);
#endif
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
  const N size = back ? s.G * parts(s.H, W) : s.K * s.vectors;
  const N size_x = RESET && !back ? (s.I + 1) * parts(s.H, W) : 0;
  std::vector<T> packed(a.models * size), packed_x(a.models * size_x);
  parallel(a.models, a.threads, [&](N m) {
    T *w = packed.data() + m * size, *w_x = packed_x.data() + m * size_x;
    if (back) pack([&](N g) { return a.w_h.row(m, 0, g); }, s.G, parts(s.H, W), w, s.H);
    else join_weights(a, s, m, w, w_x);
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
    const T *w = packed.data() + m * size, *w_x = packed_x.data() + m * size_x;
    back ? backward(a, s, m, first, count, w) : forward(a, s, m, first, count, w, w_x);
  });
  if (back) each(s.G, [&](N m, N first, N count) { weights(a, s, m, first, count); });
}
}  // namespace

extern "C" void urgates_forward(const Args* a) { run(*a, false); }
extern "C" void urgates_backward(const Args* a) { run(*a, true); }
