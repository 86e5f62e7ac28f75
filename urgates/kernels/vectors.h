// W floats in a register, their functions, and a GEMM of such registers; part of native.cpp.
//
// Written with the compiler's vector extensions, which fit every CPU; only loads and stores of a
// part of a register have an AVX-512 form of their own.

#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

typedef int64_t N;

#if defined(__AVX512F__)
constexpr int W = 16, VECTORS = 4;  // the tile takes 24 of 32 registers
#elif defined(__AVX__)
constexpr int W = 8, VECTORS = 2;
#else
constexpr int W = 4, VECTORS = 2;
#endif
constexpr int ROWS = 6, DEPTH = 256;

typedef float V __attribute__((vector_size(4 * W)));
typedef int32_t VI __attribute__((vector_size(4 * W)));
typedef float VU __attribute__((vector_size(4 * W), aligned(4), may_alias));

// ------------------------------------------------------------------ W floats and their functions

struct T {
  V v;
  T() : v{} {}
  T(V x) : v(x) {}
  T(float x) : v(V{} + x) {}
};
inline T operator+(T a, T b) { return a.v + b.v; }
inline T operator-(T a, T b) { return a.v - b.v; }
inline T operator*(T a, T b) { return a.v * b.v; }
inline T operator/(T a, T b) { return a.v / b.v; }
inline T operator-(T a) { return -a.v; }
#if defined(__AVX512F__)
inline T least(T a, T b) { return V(_mm512_min_ps(b.v, a.v)); }  // a NaN in `a` stays
inline T greatest(T a, T b) { return V(_mm512_max_ps(b.v, a.v)); }
#else
inline T least(T a, T b) { return b.v < a.v ? b.v : a.v; }
inline T greatest(T a, T b) { return b.v > a.v ? b.v : a.v; }
#endif

inline T load(const float* p, N n) {
  if (n >= W) return V(*(const VU*)p);
#if defined(__AVX512F__)
  return V(_mm512_maskz_loadu_ps((1u << n) - 1, p));
#else
  T x;
  std::memcpy(&x, p, sizeof(float) * n);
  return x;
#endif
}

inline void store(float* p, T x, N n) {
  if (n >= W) {
    *(VU*)p = x.v;
    return;
  }
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (1u << n) - 1, x.v);
#else
  std::memcpy(p, &x, sizeof(float) * n);
#endif
}

template <int... I>
inline VI numbers(std::integer_sequence<int, I...>) {
  return VI{I...};
}
inline T first(N n, T x, float other) {  // the first n lanes of x, then `other`
  if (n >= W) return x;
  const VI lane = numbers(std::make_integer_sequence<int, W>());
  return lane < VI{} + (int)n ? x.v : T(other).v;
}

template <int S, int... I>  // lanes move up by S (down if negative), others come from `fill`
inline T shift(T x, T fill, std::integer_sequence<int, I...>) {
#if defined(__clang__)
  return __builtin_shufflevector(x.v, fill.v, (I >= S && I - S < W ? I - S : W)...);
#else
  return __builtin_shuffle(x.v, fill.v, VI{(I >= S && I - S < W ? I - S : W)...});
#endif
}
template <int S>
inline T shift(T x, T fill = 0.f) {
  return shift<S>(x, fill, std::make_integer_sequence<int, W>());
}

template <int SIGN, class Op>  // running sum (or other op) over the lanes, from below or above (-1)
inline T running(Op op, T x, T fill = 0.f) {
  x = op(x, shift<SIGN>(x, fill));
  x = op(x, shift<2 * SIGN>(x, fill));
  if constexpr (W > 4) x = op(x, shift<4 * SIGN>(x, fill));
  if constexpr (W > 8) x = op(x, shift<8 * SIGN>(x, fill));
  return x;
}

struct Exponential {
  T scale, rest;  // e^x = scale + scale * rest, relative error about 1e-7
};
inline Exponential exponential(T x) {
  x = least(greatest(x, -87.f), 88.f);
  const T magic = 12582912.f;  // 1.5 * 2^23: adding it rounds to a whole number, kept in low bits
  const T t = x * 1.44269504f + magic, n = t - magic;
  const T r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  T p = 1 / 5040.f;
  p = p * r + 1 / 720.f;
  p = p * r + 1 / 120.f;
  p = p * r + 1 / 24.f;
  p = p * r + 1 / 6.f;
  p = p * r + 0.5f;
  return {V(((VI)t.v + 127) << 23), p * r * r + r};
}
inline T exp(T x) {
  const Exponential e = exponential(x);
  return e.scale + e.scale * e.rest;
}
inline T log(T x) {  // of normal x > 0, relative error about 1e-7
  const VI shift = ((VI)x.v - 0x3f3504f3) >> 23;  // x = 2^shift m with m from sqrt(1/2) to sqrt(2)
  const T n = __builtin_convertvector(shift, V), m = V((VI)x.v - (shift << 23));
  const T t = (m - 1) / (m + 1), s = t * t;  // log m = 2 artanh t
  const T y = 2 * t * (1 + s * (1 / 3.f + s * (1 / 5.f + s * (1 / 7.f + s * (1 / 9.f)))));
  return x.v == x.v ? (n * 0.693359375f + (n * -2.12194440e-4f + y)).v : x.v;
}
inline T sqrt(T x) {
  for (int i = 0; i < W; ++i) x.v[i] = __builtin_sqrtf(x.v[i]);
  return x;
}
inline T tanh(T x) {  // through e^2x - 1: exact near 0
  const Exponential e = exponential(least(greatest(2 * x, -20.f), 20.f));
  const T y = (e.scale - 1) + e.scale * e.rest;
  return y / (y + 2);
}
struct Pair {
  T value, complement;
};
inline Pair sigmoid(T x) {
  const T e = exp(-x), value = 1 / (1 + e);
  return {value, e * value};
}

inline T smaller(Pair g) { return g.value.v <= g.complement.v ? g.value.v : -g.complement.v; }
inline Pair both(T x) {  // from the smaller one; the sign bit tells which it is
  const VI high = (VI)x.v < 0;
  return {high ? 1 + x.v : x.v, high ? -x.v : 1 - x.v};
}

inline void copy(const float* from, N n, float* to) { std::memcpy(to, from, sizeof(float) * n); }

// ------------------------------------------------------------------ bfloat16 in products
// With LOW a cell of a product's factors, 32 bits, is no float but two bfloat16: neighbours along the
// depth.  So the depth halves, and all else of a product stays: strides, packing, float32 sums.

#if LOW
constexpr int PER_CELL = 2;
typedef uint16_t Operand;  // what a product's factors are made of
typedef float Cell __attribute__((may_alias, aligned(2)));
inline V multiply_add(V sum, float cell, V cells) {
  return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_ps(cell), (__m512bh)cells);
}
inline void copy(const float* from, N n, uint16_t* to) {  // n floats, rounded to nearest
  for (N j = 0; j < n; j += W) {
    const __m256i half = (__m256i)_mm512_cvtneps_pbh(load(from + j, n - j).v);
    _mm256_mask_storeu_epi16(to + j, n - j < W ? (1u << (n - j)) - 1 : 0xffff, half);
  }
}
inline T cells(T even, T odd) {
  const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even.v));
  const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd.v));
  return (V)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
#else
constexpr int PER_CELL = 1;
typedef float Operand, Cell;
inline V multiply_add(V sum, float a, V x) { return sum + a * x; }
inline T cells(T even, T) { return even; }
#endif

// ------------------------------------------------------------------ GEMM: out = a @ b

inline N parts(N total, N limit) { return (total + limit - 1) / limit; }
inline N share(N total, N limit, N i) { return total * i / parts(total, limit); }
inline N padded(N n) { return parts(n, W) * W; }
// floats from row to row of a matrix whose columns are walked along: an odd number of cache lines,
// so that a column does not crowd into a few sets of the cache
inline N apart(N n) { return (parts(n, W) | 1) * W; }

// out [R, C] = or += a [R, K] @ b [K, C]; the sums stay in registers over the whole depth K
template <int R, int C>
void tile(const Cell* a, N lda, N step, const T* b, N ldb, N K, T* out, N ldo, bool add) {
  V sum[R][C] = {};
  for (int r = 0; add && r < R; ++r)  // far away by now: on its way while the tile is computed
    for (int c = 0; c < C; ++c) __builtin_prefetch(out + r * ldo + c, 1);
  for (N k = 0; k < K; ++k, a += step) {
    V x[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) x[c] = b[k * ldb + c].v;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sum[r][c] = multiply_add(sum[r][c], a[r * lda], x[c]);
  }
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) out[r * ldo + c] = add ? out[r * ldo + c].v + sum[r][c] : sum[r][c];
}

typedef void (*Tile)(const Cell*, N, N, const T*, N, N, T*, N, bool);
template <int... I>
const Tile* tiles(std::integer_sequence<int, I...>) {
  static const Tile table[] = {tile<I / VECTORS + 1, I % VECTORS + 1>...};
  return table;
}

// Cell (row, k) of a is a[row * lda + k * step]; b [depth, vectors] has ldb vectors per row, or is
// packed where ldb = 0; out [rows, vectors].
void gemm(const Cell* a, N lda, N step, const T* b, N ldb, N depth, N vectors, N rows, T* out,
          bool add) {
  const Tile* table = tiles(std::make_integer_sequence<int, ROWS * VECTORS>());
  for (N i = 0; i < parts(vectors, VECTORS); ++i) {
    const N v = share(vectors, VECTORS, i), nv = share(vectors, VECTORS, i + 1) - v;
    const T* panel = b + (ldb ? v : v * depth);
    for (N j = 0; j < parts(rows, ROWS); ++j) {
      const N r = share(rows, ROWS, j), nr = share(rows, ROWS, j + 1) - r;
      table[(nr - 1) * VECTORS + nv - 1](a + r * lda, lda, step, panel, ldb ? ldb : nv, depth,
                                         out + r * vectors + v, vectors, add);
    }
  }
}

inline N deep(N K) { return parts(K, PER_CELL); }  // cells in K operands

// a [rows, K], lda apart, times packed [K, vectors]
void gemm(const Operand* a, N lda, const T* packed, N K, N vectors, N rows, T* out, bool add) {
  gemm((const Cell*)a, lda / PER_CELL, 1, packed, 0, deep(K), vectors, rows, out, add);
}

// Rows of floats, `ld` vectors apart, become deep(rows) rows of cells in their place.
inline void pair(T* p, N ld, N vectors, N rows) {
  for (N k = 0; PER_CELL > 1 && k < deep(rows); ++k)
    for (N j = 0; j < vectors; ++j) {
      const T* even = p + 2 * k * ld + j;
      p[k * ld + j] = cells(even[0], 2 * k + 1 < rows ? even[ld] : T());
    }
}

template <class Row>  // a matrix by its rows(k) of so many columns, into the order `gemm` reads
void pack(Row row, N K, N vectors, T* out, N columns) {
  for (N k = 0; k < deep(K); ++k) {
    const N last = PER_CELL * k + PER_CELL - 1;
    const float *even = row(PER_CELL * k), *odd = last < K ? row(last) : nullptr;
    for (N i = 0; i < parts(vectors, VECTORS); ++i) {
      const N v = share(vectors, VECTORS, i), nv = share(vectors, VECTORS, i + 1) - v;
      T* to = out + v * deep(K) + k * nv - v;
      for (N j = v; j < v + nv; ++j) {
        const N n = columns - j * W;
        to[j] = cells(load(even + j * W, n), odd ? load(odd + j * W, n) : T());
      }
    }
  }
}

template <class Row>  // the same from its columns, each a row of K operands, or null for zeros
void pack_transposed(Row row, N K, N vectors, T* out) {
  for (N i = 0; i < parts(vectors, VECTORS); ++i) {
    const N v = share(vectors, VECTORS, i), nv = share(vectors, VECTORS, i + 1) - v;
    for (N c = 0; c < nv * W; ++c) {
      const Cell* from = (const Cell*)row(v * W + c);
      float* to = (float*)(out + v * deep(K)) + c;
      for (N k = 0; k < deep(K); ++k) to[k * nv * W] = from ? from[k] : 0.f;
    }
  }
}
}  // namespace
