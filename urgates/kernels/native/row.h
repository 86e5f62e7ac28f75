// One row of one step: its pre-activations, activations, stash and gradients; part of loop.cpp.
//
// A `head` is a row block of the weights.  Ordered (cumax; FALLING: one minus it) and master heads
// need the whole row and go through `Row`'s buffers; all others are activated where they are used, by
// a sigmoid or by the gate's OWN function.  Forward leaves every activation in the stash, so that
// backward (BACK) needs neither the step's product nor an exponential again.

namespace {

// ------------------------------------------------------------------ the gate's own activation
// tail(|z|) is its distance to saturation, slope(tail) its derivative there.

/*@activation*/

inline Pair own(T x) {
  const T u = tail(greatest(x, -x)), rest = 1 - u;
  const VI up = x.v >= 0;
  return {up ? rest.v : u.v, up ? u.v : rest.v};
}
inline T through(int head, T d, T value, T complement) {  // the gradient d passes an activation
  if (!(KIND[head] & OWN)) return d * value * complement;
  return d * slope(greatest(least(value, complement), TINY));
}

struct Shape {
  N H, I, K, S, D, G = 0, vectors = 0, width[HEADS], row[HEADS], vector[HEADS];
  explicit Shape(const Args& a) : H(a.hidden), I(a.inputs), K(H + I + 1) {
    for (int i = 0; i < HEADS; ++i) {
      width[i] = KIND[i] & MASTER ? H / a.downsize : H;
      row[i] = G, vector[i] = vectors;
      G += width[i], vectors += parts(width[i], W);
    }
    S = G + (LSTM || RESET ? H : 0);  // tanh(c), or what reset multiplies, follows the heads
    D = G + RESET * H;                // of gradients: u's before the reset gate follows
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
    const Pair g = KIND[head] & OWN ? own(pre(head, j)) : sigmoid(pre(head, j));
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
    else store(dz + s.row[head] + j, through(head, d, value, complement), s.H - j);
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
      store(out + j, through(head, load(d + j, W), load(value + j, W), load(complement + j, W)), n - j);
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
}  // namespace
