// The recurrence of a relational memory as one compiled loop over time; compiled.py splices one
// gate into this file.  Santoro et al. (2018) as released; a step of S slots M [S, F] and an input:
//
//   q, k, v = norm(W_qkv M + b_qkv)                    by head; the input's k, v come in ready
//   y_1 = M + softmax(q [k, k_x]ᵀ / √d) [v, v_x],      z_1 = norm(y_1)
//   y_2 = z_1 + W_2 relu(W_1 z_1 + b_1) + b_2,         z_2 = norm(y_2)
//   M'  = forget · M + input · tanh(z_2)               gates from W_g tanh(M) + g_x
//
// A norm is scale · hat + shift, hat = (y - mean) / deviation of a row's features.
// Features lie in the lanes of a vector.  Samples never wait for each other: a block of some goes
// through all steps at once, its rows (sample, slot) in the cache, each product one GEMM against
// packed weights.  Backward leaves the rows' gradients in front of each product, from which Python
// makes the weights' in one product, and sums those of biases and norms block by block, so that
// no number depends on the threads.
// Buffers end in padding to whole vectors; what of it could be read as a feature is zero.

#include <cmath>
#include <limits>
#include <vector>

/*@defines*/
#include "vectors.h"  // `inlined` puts these here
#include "product.h"
#include "threads.h"

constexpr float EPSILON = /*@epsilon*/f;

namespace {

// ------------------------------------------------------------------ what Python hands over
// B samples, F features of a slot, h heads of d = F/h, G rows of the gates; all contiguous.

struct Args {
  N models, time, batch, slots, hidden, heads, downsize, blocks, threads;
  N kept_time;  // steps that the buffers of what is kept have: all, or 1 if no backward follows
  N inputs;     // unused, for row.h
  const float *k, *v, *gx, *m, *keep;  // [M, T, B, …] as attending.Inputs; keep may be null
  const float *w_qkv, *b_qkv, *scale_qkv, *shift_qkv, *scale_1, *shift_1, *w_1, *b_1, *w_2, *b_2;
  const float *scale_2, *shift_2, *w_g;
  float* ms;                                         // [M, T, B, S, F] the memories
  float *hat_a, *rstd_a, *p, *hat_1, *rstd_1, *relu;  // as compiled.Kept
  float *hat_2, *rstd_2, *tanh_m, *gates;
  const float* dms;
  float *d_a, *d_relu, *d_y_2, *d_pre, *d_k, *d_v, *d_m, *sums;  // as compiled.Slopes
};
}  // namespace

#include "row.h"

namespace {

// ------------------------------------------------------------------ rows

inline float total(T x) { return running<1>(add, x).v[W - 1]; }

inline float dot(const float* x, const float* y, N n) {
  T sum = 0.f;
  for (N j = 0; j < n; j += W) sum = sum + load(x + j, n - j) * load(y + j, n - j);
  return total(sum);
}

// hat of a row of `n` features and zeros behind; returns 1 / deviation
float normal(const float* x, N n, float* hat) {
  T sum = 0.f, square = 0.f;
  for (N j = 0; j < n; j += W) sum = sum + load(x + j, W);
  const T mean = total(sum) / n;
  for (N j = 0; j < n; j += W) {
    const T centred = first(n - j, load(x + j, W) - mean, 0.f);
    square = square + centred * centred;
  }
  const float rstd = 1 / std::sqrt(total(square) / n + EPSILON);
  for (N j = 0; j < n; j += W) store(hat + j, (load(x + j, W) - mean) * rstd, n - j);
  return rstd;
}

// d(y) from d(scale · hat + shift)
void denormal(const float* d, const float* scale, const float* hat, float rstd, N n, float* out) {
  T sum = 0.f, along = 0.f;
  for (N j = 0; j < n; j += W) {
    const T g = load(d + j, n - j) * load(scale + j, n - j);
    sum = sum + g, along = along + g * load(hat + j, n - j);
  }
  const T mean = total(sum) / n, share = total(along) / n;
  for (N j = 0; j < n; j += W) {
    const T g = load(d + j, n - j) * load(scale + j, n - j);
    store(out + j, (g - mean - load(hat + j, n - j) * share) * rstd, n - j);
  }
}

inline T affine(const float* hat, const float* scale, const float* shift, N j, N n) {
  return load(hat + j, n - j) * load(scale + j, n - j) + load(shift + j, n - j);
}

void softmax(float* p, N rows, N n) {  // of each row in place
  for (float* row = p; row < p + rows * n; row += n) {
    float top = row[0];
    for (N c = 1; c < n; ++c) top = row[c] > top ? row[c] : top;
    for (N c = 0; c < n; ++c) row[c] -= top;
  }
  for (N j = 0; j < rows * n; j += W) store(p + j, exp(load(p + j, rows * n - j)), rows * n - j);
  for (float* row = p; row < p + rows * n; row += n) {
    float sum = 0;
    for (N c = 0; c < n; ++c) sum += row[c];
    for (N c = 0; c < n; ++c) row[c] /= sum;
  }
}

// sum += d over rows, along += d · hat
void totals(const float* d, N ldd, const float* hat, N n, N rows, float* sum, float* along) {
  for (N j = 0; j < n; j += W) {
    T s = 0.f, of_hat = 0.f;
    for (N r = 0; r < rows; ++r) {
      const T x = load(d + r * ldd + j, n - j);
      s = s + x;
      if (hat) of_hat = of_hat + x * load(hat + r * n + j, n - j);
    }
    store(sum + j, load(sum + j, n - j) + s, n - j);
    if (hat) store(along + j, load(along + j, n - j) + of_hat, n - j);
  }
}

// ------------------------------------------------------------------ a model's weights, packed

struct Packed {
  std::vector<T> qkv, one, two, gates;

  Packed(const Args& a, const Shape& s, N m, bool back) {
    const N F = s.H;
    pack_one(qkv, a.w_qkv + m * 3 * F * F, 3 * F, F, back);
    pack_one(one, a.w_1 + m * F * F, F, F, back);
    pack_one(two, a.w_2 + m * F * F, F, F, back);
    const float* w_g = a.w_g + m * s.G * F;
    if (back) {
      pack_one(gates, w_g, s.G, F, back);
      return;
    }
    const std::vector<N> columns = s.columns();
    gates.resize(F * s.vectors);
    auto row = [&](N c) { return columns[c] < 0 ? nullptr : w_g + columns[c] * F; };
    pack_transposed(row, F, s.vectors, gates.data());
  }

  // w [out, in], for x wᵀ or, on the way back, for d w
  static void pack_one(std::vector<T>& to, const float* w, N out, N in, bool back) {
    const N vectors = parts(back ? in : out, W);
    to.resize((back ? out : in) * vectors);
    if (back) return pack([&](N k) { return w + k * in; }, out, vectors, to.data(), in);
    auto row = [&](N c) { return c < out ? w + c * in : nullptr; };
    pack_transposed(row, in, vectors, to.data());
  }
};

// ------------------------------------------------------------------ a block of samples

struct Kept {  // one step of a block
  float *hat_a, *rstd_a, *p, *hat_1, *rstd_1, *relu, *hat_2, *rstd_2, *tanh_m, *gates;
};

struct Block {
  const Args& a;
  const Shape& s;
  const Packed& w;
  const N m, b, samples;  // model, first sample
  const N S, F, d, rows, vectors, ld, ld_qkv;  // strides of rows of F and of 3F features
  std::vector<T> qkv, z;                       // rows of 3F, of the gates
  std::vector<T> x, y;                         // rows of F

  Block(const Args& a, const Shape& s, const Packed& w, N m, N b, N samples)
      : a(a), s(s), w(w), m(m), b(b), samples(samples), S(a.slots), F(a.hidden), d(F / a.heads),
        rows(samples * S), vectors(parts(F, W)), ld(padded(F)), ld_qkv(padded(3 * F)),
        qkv(rows * parts(3 * F, W)), z(rows * s.vectors), x(rows * vectors), y(rows * vectors) {}

  N sample(N t, N times) const { return (m * times + t) * a.batch + b; }
  const float* memory(N t) const {  // before step t
    return t ? a.ms + sample(t - 1, a.time) * S * F : a.m + sample(0, 1) * S * F;
  }
  Kept kept(N t) const {
    const N n = sample(a.kept_time > 1 ? t : 0, a.kept_time), r = n * S;
    return {a.hat_a + r * 3 * F, a.rstd_a + r, a.p + n * a.heads * S * (S + 1),
            a.hat_1 + r * F, a.rstd_1 + r, a.relu + r * F,
            a.hat_2 + r * F, a.rstd_2 + r, a.tanh_m + r * F, a.gates + r * s.G};
  }
  const float* of(const float* parameter, N n) const { return parameter + m * n; }
  T candidate(const Kept& k, N r, N j) const {
    return affine(k.hat_2 + r * F, of(a.scale_2, F), of(a.shift_2, F), j, F);
  }
  void project(const Kept& k) {  // qkv from hat_a
    const float *scale = of(a.scale_qkv, 3 * F), *shift = of(a.shift_qkv, 3 * F);
    float* to = (float*)qkv.data();
    for (N r = 0; r < rows; ++r, to += ld_qkv)
      for (N j = 0; j < 3 * F; j += W)
        store(to + j, affine(k.hat_a + r * 3 * F, scale, shift, j, 3 * F), W);
  }
};

struct Head {  // of one sample: S queries, S + 1 keys and values, the last the input's
  const float *rows, *k_x, *v_x;
  N S, d, ld;
  const float* q(N slot) const { return rows + slot * ld; }
  const float* k(N c) const { return c < S ? rows + c * ld + d : k_x; }
  const float* v(N c) const { return c < S ? rows + c * ld + 2 * d : v_x; }
};

// ------------------------------------------------------------------ forward

struct Forward : Block {
  Row<false> row;
  Forward(const Args& a, const Shape& s, const Packed& w, N m, N b, N samples)
      : Block(a, s, w, m, b, samples), row(s, a.downsize) {}

  void run() {
    for (N t = 0; t < a.time; ++t) {
      const Kept k = kept(t);
      queries(memory(t), k);
      attend(t, k);
      perceive(k);
      gate(t, k);
    }
  }

  void queries(const float* M, const Kept& k) {
    gemm(M, F, w.qkv.data(), F, parts(3 * F, W), rows, qkv.data(), false);
    const float* bias = of(a.b_qkv, 3 * F);
    float* to = (float*)qkv.data();
    for (N r = 0; r < rows; ++r, to += ld_qkv) {
      for (N j = 0; j < 3 * F; j += W) store(to + j, load(to + j, W) + load(bias + j, 3 * F - j), W);
      k.rstd_a[r] = normal(to, 3 * F, k.hat_a + r * 3 * F);
    }
    project(k);
  }

  void attend(N t, const Kept& k) {  // y = y_1, then x = z_1
    const float* M = memory(t);
    float *out = (float*)y.data(), *p = k.p;
    const float scale = 1 / std::sqrt((float)d);
    for (N i = 0; i < samples; ++i)
      for (N head = 0; head < a.heads; ++head, p += S * (S + 1)) {
        const N at = (sample(t, a.time) + i) * F + head * d;
        const Head h{(float*)qkv.data() + i * S * ld_qkv + head * 3 * d, a.k + at, a.v + at, S, d, ld_qkv};
        for (N q = 0; q < S; ++q)
          for (N c = 0; c <= S; ++c) p[q * (S + 1) + c] = dot(h.q(q), h.k(c), d) * scale;
        softmax(p, S, S + 1);
        for (N q = 0; q < S; ++q)
          for (N j = 0; j < d; j += W) {
            T sum = load(M + (i * S + q) * F + head * d + j, d - j);
            for (N c = 0; c <= S; ++c) sum = sum + p[q * (S + 1) + c] * load(h.v(c) + j, d - j);
            store(out + (i * S + q) * ld + head * d + j, sum, d - j);
          }
      }
    float* z_1 = (float*)x.data();
    for (N r = 0; r < rows; ++r) {
      k.rstd_1[r] = normal(out + r * ld, F, k.hat_1 + r * F);
      for (N j = 0; j < F; j += W)
        store(z_1 + r * ld + j, affine(k.hat_1 + r * F, of(a.scale_1, F), of(a.shift_1, F), j, F), W);
    }
  }

  void perceive(const Kept& k) {  // from x = z_1
    float *to = (float*)y.data(), *z_1 = (float*)x.data();
    gemm(z_1, ld, w.one.data(), F, vectors, rows, y.data(), false);
    for (N r = 0; r < rows; ++r)
      for (N j = 0; j < F; j += W) {
        const T pre = load(to + r * ld + j, W) + load(of(a.b_1, F) + j, F - j);
        store(k.relu + r * F + j, greatest(pre, 0.f), F - j);
      }
    gemm(k.relu, F, w.two.data(), F, vectors, rows, x.data(), true);
    for (N r = 0; r < rows; ++r) {
      float* y_2 = z_1 + r * ld;
      for (N j = 0; j < F; j += W) store(y_2 + j, load(y_2 + j, W) + load(of(a.b_2, F) + j, F - j), W);
      k.rstd_2[r] = normal(y_2, F, k.hat_2 + r * F);
    }
  }

  void gate(N t, const Kept& k) {
    const float* M = memory(t);
    float* to = a.ms + sample(t, a.time) * S * F;
    for (N j = 0; j < rows * F; j += W) store(k.tanh_m + j, tanh(load(M + j, rows * F - j)), rows * F - j);
    gemm(k.tanh_m, F, w.gates.data(), F, s.vectors, rows, z.data(), false);
    for (N n = 0; n < rows; ++n, M += F, to += F) {
      const N at = sample(t, a.time) + n / S;
      T* pre = z.data() + n * s.vectors;
      for (N head = 0; head < HEADS; ++head)
        for (N j = 0; j < s.width[head]; j += W) {
          T& x = pre[s.vector[head] + j / W];
          x = x + load(a.gx + at * s.G + s.row[head] + j, s.width[head] - j);
        }
      row.z = pre, row.stash = k.gates + n * s.G;
      row.begin();
      const T keep = a.keep ? a.keep[at] : 0.f;
      for (N j = 0; j < F; j += W) {
        const T state = load(M + j, F - j), z_u = candidate(k, n, j);
        /*@gate*/
        /*@cell*/
        store(to + j, a.keep ? keep * state + (1 - keep) * h : h, F - j);
      }
    }
  }
};

// ------------------------------------------------------------------ backward

struct Sums {  // over a block's rows, in this order as compiled.SUMS
  float *b_qkv, *shift_qkv, *scale_qkv, *b_1, *b_2, *shift_1, *scale_1, *shift_2, *scale_2;
  Sums(float* p, N F)
      : b_qkv(p), shift_qkv(p + 3 * F), scale_qkv(p + 6 * F), b_1(p + 9 * F), b_2(p + 10 * F),
        shift_1(p + 11 * F), scale_1(p + 12 * F), shift_2(p + 13 * F), scale_2(p + 14 * F) {}
};

struct Backward : Block {
  Row<true> row;
  Sums sums;
  std::vector<T> dm, dqkv;    // of the memory after the step; of queries, keys and values
  std::vector<float> dscore;  // of one head

  Backward(const Args& a, const Shape& s, const Packed& w, N m, N b, N samples, float* sums)
      : Block(a, s, w, m, b, samples), row(s, a.downsize), sums(sums, F), dm(rows * vectors),
        dqkv(qkv.size()), dscore(S * (S + 1)) {}

  void run() {
    for (N t = a.time - 1; t >= 0; --t) {
      const Kept k = kept(t);
      gate(t, k);
      perceive(t, k);
      attend(t, k);
      queries(t, k);
    }
    for (N r = 0; r < rows; ++r)
      for (N j = 0; j < F; j += W)
        store(a.d_m + (sample(0, 1) * S + r) * F + j, dm[r * vectors + j / W], F - j);
  }

  void gate(N t, const Kept& k) {  // leaves dm without the other ways, x = d(z_2), d_pre
    const float *M = memory(t), *d_out = a.dms + sample(t, a.time) * S * F;
    float *d_pre = a.d_pre + sample(t, a.time) * S * s.G, *dz_2 = (float*)x.data();
    for (N n = 0; n < rows; ++n) {
      const T keep = a.keep ? a.keep[sample(t, a.time) + n / S] : 0.f;
      row.stash = k.gates + n * s.G, row.dz = d_pre + n * s.G;
      row.begin();
      for (N j = 0; j < F; j += W) {
        const T state = load(M + n * F + j, F - j), u = tanh(candidate(k, n, j));
        T &dm_j = dm[n * vectors + j / W], held = 0.f;
        T d_h = dm_j + load(d_out + n * F + j, F - j);
        if (a.keep) held = keep * d_h, d_h = (1 - keep) * d_h;
        /*@gate*/
        /*@back*/
        store(dz_2 + n * ld + j, d_z_u, W);
        dm_j = held + d_state;
        /*@put*/
      }
      row.end();
    }
    gemm(d_pre, s.G, w.gates.data(), s.G, vectors, rows, y.data(), false);
    for (N n = 0; n < rows; ++n)
      for (N j = 0; j < F; j += W) {
        const T tanh_m = load(k.tanh_m + n * F + j, F - j);
        T& dm_j = dm[n * vectors + j / W];
        dm_j = dm_j + y[n * vectors + j / W] * (1 - tanh_m * tanh_m);
      }
  }

  void perceive(N t, const Kept& k) {  // from x = d(z_2) to y = d(z_1)
    float* dz_2 = (float*)x.data();
    float* d_y_2 = a.d_y_2 + sample(t, a.time) * S * F;
    float* d_relu = a.d_relu + sample(t, a.time) * S * F;
    totals(dz_2, ld, k.hat_2, F, rows, sums.shift_2, sums.scale_2);
    for (N r = 0; r < rows; ++r)
      denormal(dz_2 + r * ld, of(a.scale_2, F), k.hat_2 + r * F, k.rstd_2[r], F, d_y_2 + r * F);
    totals(d_y_2, F, nullptr, F, rows, sums.b_2, nullptr);
    gemm(d_y_2, F, w.two.data(), F, vectors, rows, y.data(), false);
    for (N r = 0; r < rows; ++r)
      for (N j = 0; j < F; j += W) {
        const T relu = load(k.relu + r * F + j, F - j), through = y[r * vectors + j / W];
        store(d_relu + r * F + j, relu.v > 0 ? through.v : V{}, F - j);
        y[r * vectors + j / W] = load(d_y_2 + r * F + j, F - j);
      }
    totals(d_relu, F, nullptr, F, rows, sums.b_1, nullptr);
    gemm(d_relu, F, w.one.data(), F, vectors, rows, y.data(), true);
  }

  void attend(N t, const Kept& k) {  // from y = d(z_1) to x = d(y_1) and dqkv
    float *dz_1 = (float*)y.data(), *dy_1 = (float*)x.data();
    totals(dz_1, ld, k.hat_1, F, rows, sums.shift_1, sums.scale_1);
    for (N r = 0; r < rows; ++r) {
      denormal(dz_1 + r * ld, of(a.scale_1, F), k.hat_1 + r * F, k.rstd_1[r], F, dy_1 + r * ld);
      for (N j = 0; j < F; j += W) {
        T& dm_j = dm[r * vectors + j / W];
        dm_j = dm_j + load(dy_1 + r * ld + j, F - j);
      }
    }
    project(k);
    const float* p = k.p;
    for (N i = 0; i < samples; ++i)
      for (N head = 0; head < a.heads; ++head, p += S * (S + 1)) {
        const N at = (sample(t, a.time) + i) * F + head * d, first = i * S * ld_qkv + head * 3 * d;
        const Head h{(float*)qkv.data() + first, a.k + at, a.v + at, S, d, ld_qkv};
        attend(h, p, dy_1 + i * S * ld + head * d, (float*)dqkv.data() + first, a.d_k + at, a.d_v + at);
      }
  }

  // one head of one sample; d_out rows of stride ld, the gradients lie as `Head` has what they are of
  void attend(const Head& h, const float* p, const float* d_out, float* to, float* d_k_x, float* d_v_x) {
    const float scale = 1 / std::sqrt((float)d);
    float* ds = dscore.data();
    for (N q = 0; q < S; ++q, ds += S + 1, p += S + 1) {
      float sum = 0;
      for (N c = 0; c <= S; ++c) ds[c] = dot(d_out + q * ld, h.v(c), d), sum += ds[c] * p[c];
      for (N c = 0; c <= S; ++c) ds[c] = p[c] * (ds[c] - sum) * scale;
    }
    ds = dscore.data(), p -= S * (S + 1);
    for (N j = 0; j < d; j += W) {
      const N n = d - j;
      for (N q = 0; q < S; ++q) {
        T dq = 0.f;
        for (N c = 0; c <= S; ++c) dq = dq + ds[q * (S + 1) + c] * load(h.k(c) + j, n);
        store(to + q * ld_qkv + j, dq, n);
      }
      for (N c = 0; c <= S; ++c) {
        T dk = 0.f, dv = 0.f;
        for (N q = 0; q < S; ++q) {
          dk = dk + ds[q * (S + 1) + c] * load(h.q(q) + j, n);
          dv = dv + p[q * (S + 1) + c] * load(d_out + q * ld + j, n);
        }
        store((c < S ? to + c * ld_qkv + d : d_k_x) + j, dk, n);
        store((c < S ? to + c * ld_qkv + 2 * d : d_v_x) + j, dv, n);
      }
    }
  }

  void queries(N t, const Kept& k) {  // from dqkv to dm
    const float *from = (float*)dqkv.data(), *scale = of(a.scale_qkv, 3 * F);
    float* d_a = a.d_a + sample(t, a.time) * S * 3 * F;
    totals(from, ld_qkv, k.hat_a, 3 * F, rows, sums.shift_qkv, sums.scale_qkv);
    for (N r = 0; r < rows; ++r)
      denormal(from + r * ld_qkv, scale, k.hat_a + r * 3 * F, k.rstd_a[r], 3 * F, d_a + r * 3 * F);
    totals(d_a, 3 * F, nullptr, 3 * F, rows, sums.b_qkv, nullptr);
    gemm(d_a, 3 * F, w.qkv.data(), 3 * F, vectors, rows, dm.data(), true);
  }
};

// ------------------------------------------------------------------ all models

void run(const Args& a, bool back) {
  const Shape s(a);
  std::vector<Packed> packed;
  for (N m = 0; m < a.models; ++m) packed.emplace_back(a, s, m, back);
  parallel(a.models * a.blocks, a.threads, [&](N i) {
    const N m = i / a.blocks, first = i % a.blocks * a.batch / a.blocks;
    const N count = (i % a.blocks + 1) * a.batch / a.blocks - first;
    if (back) Backward(a, s, packed[m], m, first, count, a.sums + i * 15 * a.hidden).run();
    else Forward(a, s, packed[m], m, first, count).run();
  });
}
}  // namespace

extern "C" int urgates_forward(const Args* a) { return answer(run, a, false); }
extern "C" int urgates_backward(const Args* a) { return answer(run, a, true); }
