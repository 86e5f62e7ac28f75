// A GEMM of registers, in float32 or with bfloat16 factors; part of loop.cpp.
//
// out = a @ b goes in tiles of ROWS rows and VECTORS vectors of columns, whose sums stay in
// registers over the whole depth.  b is packed so that a panel of a tile's width is one stream.

namespace {

constexpr int ROWS = 6, VECTORS = W == 16 ? 4 : 2;  // 24 of AVX-512's 32 registers, 12 of 16
constexpr int DEPTH = 256;  // of the products that make the weights' gradients

// ------------------------------------------------------------------ bfloat16 in products
// With LOW a cell of a product's factors, 32 bits, is no float but two bfloat16: neighbours along
// the depth.  So the depth halves, and all else of a product stays: strides, packing, float32 sums.

#if LOW
constexpr int PER_CELL = 2;
typedef uint16_t Operand;  // what a product's factors are made of
typedef float Cell __attribute__((may_alias, aligned(2)));
inline V multiply_add(V sum, float cell, V cells) {
  return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_ps(cell), (__m512bh)cells);
}
inline __mmask16 lanes(N n) { return n < W ? (1u << n) - 1 : 0xffff; }
inline T load(const uint16_t* p, N n) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes(n), p));
  return (V)_mm512_slli_epi32(low, 16);
}
inline T broadcast(const uint16_t* p) { return V(VI{} + (*p << 16)); }
inline void store(uint16_t* p, T x, N n) {  // rounded to nearest
  _mm256_mask_storeu_epi16(p, lanes(n), (__m256i)_mm512_cvtneps_pbh(x.v));
}
inline T cells(T even, T odd) {
  const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even.v));
  const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd.v));
  return (V)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
template <class From, class To>
inline void copy(const From* from, N n, To* to) {
  for (N j = 0; j < n; j += W) store(to + j, load(from + j, n - j), n - j);
}
#else
constexpr int PER_CELL = 1;
typedef float Operand, Cell;
inline V multiply_add(V sum, float a, V x) { return sum + a * x; }
inline T cells(T even, T) { return even; }
inline void copy(const float* from, N n, float* to) { std::memcpy(to, from, sizeof(float) * n); }
#endif

// ------------------------------------------------------------------ GEMM: out = a @ b

inline N parts(N total, N limit) { return (total + limit - 1) / limit; }
inline N share(N total, N limit, N i) { return total * i / parts(total, limit); }
inline N padded(N n) { return parts(n, W) * W; }
// floats from row to row of a matrix whose columns are walked along: an odd number of cache lines,
// so that a column does not crowd into a few sets of the cache
inline N apart(N n) { return (parts(n, W) | 1) * W; }

// What is read or written after a product, ranges of memory.  A product waits for its multipliers,
// what follows for memory; so its last tiles fetch a line per step along their depth.
struct Ahead {
  static constexpr int LINE = 64;
  struct {
    const char* p;
    N lines;
  } ranges[4];
  int many = 0;

  void add(const void* p, N bytes) { ranges[many++] = {(const char*)p, bytes / LINE + 1}; }
  // where the next tile, `left` of them being left, begins to fetch; `other` if not yet, or no more
  const char* next(N depth, N left, const void* other) {
    N tiles = 0;
    for (int i = 0; i < many; ++i) tiles += parts(ranges[i].lines, depth);
    if (!many || left > tiles + 1) return (const char*)other;
    auto& [p, lines] = ranges[many - 1];
    const char* from = p;
    p += LINE * depth, lines -= depth;
    if (lines <= 0) --many;
    return from;
  }
};

// out [R, C] = or += a [R, K] @ b [K, C]; the sums stay in registers over the whole depth K
template <int R, int C>
void tile(const Cell* a, N lda, N step, const T* b, N ldb, N K, T* out, N ldo, bool add,
          const char* ahead) {
  V sum[R][C] = {};
  for (int r = 0; add && r < R; ++r)  // far away by now: on its way while the tile is computed
    for (int c = 0; c < C; ++c) __builtin_prefetch(out + r * ldo + c, 1);
  for (N k = 0; k < K; ++k, a += step, ahead += Ahead::LINE) {
    __builtin_prefetch(ahead);
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

typedef void (*Tile)(const Cell*, N, N, const T*, N, N, T*, N, bool, const char*);
template <int... I>
const Tile* tiles(std::integer_sequence<int, I...>) {
  static const Tile table[] = {tile<I / VECTORS + 1, I % VECTORS + 1>...};
  return table;
}

// Cell (row, k) of a is a[row * lda + k * step]; b [depth, vectors] has ldb vectors per row, or is
// packed where ldb = 0; out [rows, vectors].
void gemm(const Cell* a, N lda, N step, const T* b, N ldb, N depth, N vectors, N rows, T* out,
          bool add, Ahead ahead = {}) {
  N left = parts(vectors, VECTORS) * parts(rows, ROWS);
  const Tile* table = tiles(std::make_integer_sequence<int, ROWS * VECTORS>());
  for (N i = 0; i < parts(vectors, VECTORS); ++i) {
    const N v = share(vectors, VECTORS, i), nv = share(vectors, VECTORS, i + 1) - v;
    const T* panel = b + (ldb ? v : v * depth);
    for (N j = 0; j < parts(rows, ROWS); ++j, --left) {
      const N r = share(rows, ROWS, j), nr = share(rows, ROWS, j + 1) - r;
      table[(nr - 1) * VECTORS + nv - 1](a + r * lda, lda, step, panel, ldb ? ldb : nv, depth,
                                         out + r * vectors + v, vectors, add,
                                         ahead.next(depth, left, panel));
    }
  }
}

inline N deep(N K) { return parts(K, PER_CELL); }  // cells in K operands

// a [rows, K], lda apart, times packed [K, vectors]
void gemm(const Operand* a, N lda, const T* packed, N K, N vectors, N rows, T* out, bool add,
          Ahead ahead = {}) {
  gemm((const Cell*)a, lda / PER_CELL, 1, packed, 0, deep(K), vectors, rows, out, add, ahead);
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
    const auto *even = row(PER_CELL * k), *odd = last < K ? row(last) : nullptr;
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
