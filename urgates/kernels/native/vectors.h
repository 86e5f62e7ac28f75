// W floats in a register, and their functions; part of loop.cpp.
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
constexpr int W = 16;
#elif defined(__AVX__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

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

inline T broadcast(const float* p) { return *p; }
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
}  // namespace
