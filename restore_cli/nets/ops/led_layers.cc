// Pieces of NAFNet's and Restormer's blocks: products with 1x1 weights, normalisation over channels
// and depthwise convolution, on a few rows that stay in the L2 cache. Lines of a channel lie `step`
// floats apart; where they are scratch, they may be read and written up to a whole vector.
// To be read after blocked.cc.

namespace restore_led {

using namespace restore_blocked;

// A product keeps ROWS x VECTORS sums in registers, a correlation SIDE x SIDE.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int ROWS = 8, VECTORS = 3, SIDE = 4;
#else
constexpr int ROWS = 4, VECTORS = 3, SIDE = 2;
#endif
constexpr int64_t GRAIN = VECTORS * LANES;

inline int64_t in_vectors(int64_t floats) { return (floats + LANES - 1) / LANES * LANES; }

// Distance of scratch lines that hold `width` floats and a vector beyond them. An odd number of
// cache lines keeps the same column of different channels out of each other's way.
inline int64_t line_step(int64_t width) {
  const int64_t lines = (width + 2 * LANES + 15) / 16;
  return (lines | 1) * 16;
}

class Scratch {
  float* base = nullptr;

 public:
  explicit Scratch(int64_t floats) {
    void* made = nullptr;
    if (posix_memalign(&made, 64, std::max<int64_t>(floats, 16) * sizeof(float)))
      throw std::bad_alloc();
    base = (float*)made;
    std::memset(base, 0, floats * sizeof(float));
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(base); }
  float* at(int64_t place) const { return base + place; }
};

// Weights of a 1x1 convolution in panels of ROWS outputs, an input's ROWS values side by side, and
// the biases.
struct Packed {
  int64_t inputs = 0, outputs = 0;
  std::vector<float> weight, bias;

  // weight (outputs, inputs) times `out_scale` by outputs and `in_scale` by inputs; to the bias,
  // times `out_scale` too, come the weights times `shift`. Null pointers stand for 1 and 0.
  void pack(const float* from, const float* from_bias, int64_t rows, int64_t columns,
            const float* in_scale, const float* shift, const float* out_scale) {
    inputs = columns;
    outputs = rows;
    const int64_t panels = (rows + ROWS - 1) / ROWS;
    weight.assign(panels * columns * ROWS, 0);
    bias.assign(panels * ROWS, 0);
    for (int64_t row = 0; row < rows; row++) {
      const float scale = out_scale ? out_scale[row] : 1;
      const float* line = from + row * columns;
      float* place = weight.data() + row / ROWS * columns * ROWS + row % ROWS;
      double sum = from_bias ? from_bias[row] : 0;
      for (int64_t k = 0; k < columns; k++) {
        if (shift) sum += (double)line[k] * shift[k];
        place[k * ROWS] = scale * line[k] * (in_scale ? in_scale[k] : 1);
      }
      bias[row] = (float)(scale * sum);
    }
  }
};

// Lines of channels: `width` floats of them are valid, the rest must not be written.
struct Lines {
  float* data;
  int64_t step, width;
};

INLINE void store_within(float* to, Vector v, int64_t room) {
  if (room >= LANES) {
    store(to, v);
  } else {
    for (int64_t lane = 0; lane < room; lane++) to[lane] = v[lane];
  }
}

template <int vectors>
INLINE void multiply_panel(const float* weight, const float* bias, int64_t inputs, int64_t rows,
                           const float* in, int64_t in_step, const float* add, int64_t add_step,
                           float* out, int64_t out_step, int64_t room) {
  Vector sum[ROWS][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) sum[r][v] = Vector{} + bias[r];
  for (int64_t k = 0; k < inputs; k++, in += in_step, weight += ROWS) {
    Vector value[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) value[v] = load(in + v * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) sum[r][v] += weight[r] * value[v];
  }
  const bool whole = rows >= ROWS && room >= vectors * LANES;
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++) {
    if (!whole && r >= rows) break;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
      Vector made = sum[r][v];
      if (add) made += load(add + r * add_step + v * LANES);
      if (whole)
        store(out + r * out_step + v * LANES, made);
      else
        store_within(out + r * out_step + v * LANES, made, room - v * LANES);
    }
  }
}

// out = weight in + bias (+ add) for out.width pixels; `in` and `add` are scratch lines.
inline void multiply(const Packed& w, const float* in, int64_t in_step, const float* add,
                     int64_t add_step, const Lines& out) {
  for (int64_t p = 0; p < out.width; p += GRAIN) {
    const int64_t room = out.width - p, vectors = std::min<int64_t>(VECTORS,
                                                                  (room + LANES - 1) / LANES);
    for (int64_t row = 0; row < w.outputs; row += ROWS) {
      auto run = [&](auto count) {
        multiply_panel<decltype(count)::value>(
            w.weight.data() + row * w.inputs, w.bias.data() + row, w.inputs, w.outputs - row,
            in + p, in_step, add ? add + row * add_step + p : nullptr, add_step,
            out.data + row * out.step + p, out.step, room);
      };
      if (vectors == 3) run(std::integral_constant<int, 3>());
      else if (vectors == 2) run(std::integral_constant<int, 2>());
      else run(std::integral_constant<int, 1>());
    }
  }
}

// Divides by the deviation over channels, after subtracting the mean where `centred`; the learned
// factors and offsets are the next product's business. `to` may be `from`. `scales` receives what
// each pixel is multiplied by.
inline void normalise(const float* from, int64_t from_step, int64_t channels, int64_t width,
                      float eps, bool centred, float* to, int64_t to_step,
                      float* scales = nullptr) {
  const float share = 1.f / channels;
  for (int64_t p = 0; p < width; p += LANES) {
    Vector mean = {}, square = {};
    for (int64_t c = 0; c < channels; c++) mean += load(from + c * from_step + p);
    mean *= share;
    for (int64_t c = 0; c < channels; c++) {
      const Vector off = load(from + c * from_step + p) - mean;
      square += off * off;
    }
    square = square * share + eps;
    float roots[LANES];
    store(roots, square);
    for (int lane = 0; lane < LANES; lane++) roots[lane] = 1 / std::sqrt(roots[lane]);
    const Vector scale = load(roots);
    if (scales) store(scales + p, scale);
    if (!centred) mean = Vector{};
    for (int64_t c = 0; c < channels; c++)
      store(to + c * to_step + p, (load(from + c * from_step + p) - mean) * scale);
  }
}

// Copies `width` floats of each channel; what is left of the last vector becomes zero.
inline void fetch(const float* from, int64_t from_step, int64_t channels, int64_t width, float* to,
                  int64_t to_step) {
  const int64_t rest = (in_vectors(width) - width) * sizeof(float);
  for (int64_t c = 0; c < channels; c++) {
    std::memcpy(to + c * to_step, from + c * from_step, width * sizeof(float));
    std::memset(to + c * to_step + width, 0, rest);
  }
}

// A channel's 3x3 weights and bias, and the three lines above which they slide.
struct Taps {
  Vector weight[9], bias;
  const float* line[3];

  Taps(const float* w, const float* b, int64_t channel, float* const rows[3], int64_t step) {
    for (int i = 0; i < 9; i++) weight[i] = Vector{} + w[channel * 9 + i];
    bias = Vector{} + (b ? b[channel] : 0.f);
    for (int i = 0; i < 3; i++) line[i] = rows[i] + channel * step;
  }
  // Outputs p.. from the columns p, p + 1, p + 2 of the lines.
  INLINE Vector at(int64_t p) const {
    Vector sum = bias;
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++)
#pragma GCC unroll 3
      for (int j = 0; j < 3; j++) sum += weight[3 * i + j] * load(line[i] + p + j);
    return sum;
  }
};

// Zero in the lanes from `room` on.
INLINE Vector only(Vector v, int64_t room) {
  for (int64_t lane = std::max<int64_t>(room, 0); lane < LANES; lane++) v[lane] = 0;
  return v;
}

inline double lanes_sum(Vector v) {
  double sum = 0;
  for (int lane = 0; lane < LANES; lane++) sum += v[lane];
  return sum;
}

// x (1 + erf(x / sqrt 2)) / 2. The error function is x P(x^2) / Q(x^2), fitted by iterated
// weighted least squares on [0, 3.95], beyond which it is 1 to 3e-8; largest error 4e-7.
INLINE Vector gelu(Vector x) {
  const Vector limit = Vector{} + 3.95f;
  Vector s = x * 0.70710678f;
  s = s > limit ? limit : s;
  s = s < -limit ? -limit : s;
  const Vector z = s * s;
  Vector p = z * 1.9641593e-08f - 1.9915756e-06f;
  p = p * z + 1.5134636e-04f;
  p = p * z + 4.0902900e-03f;
  p = p * z + 5.1777575e-02f;
  p = p * z + 2.0899741e-01f;
  p = p * z + 1.1283787f;
  Vector q = z * 1.0511001e-03f + 1.5132184e-02f;
  q = q * z + 1.1875457e-01f;
  q = q * z + 5.1854750e-01f;
  q = q * z + 1.f;
  return 0.5f * x * (1.f + s * p / q);
}

template <int rows, int columns>
INLINE void correlate_cell(const float* a, const float* b, int64_t step, int64_t width, double* to,
                           int64_t to_step) {
  Vector sum[rows][columns] = {};
  for (int64_t p = 0; p < width; p += LANES) {
    Vector left[rows], right[columns];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) left[i] = load(a + i * step + p);
#pragma GCC unroll 4
    for (int j = 0; j < columns; j++) right[j] = load(b + j * step + p);
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
      for (int j = 0; j < columns; j++) sum[i][j] += left[i] * right[j];
  }
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < columns; j++) to[i * to_step + j] += lanes_sum(sum[i][j]);
}

// to (channels, channels) += products of each line of `a` with each of `b`, summed over the first
// `width` floats, whole vectors.
inline void correlate(const float* a, const float* b, int64_t step, int64_t channels,
                      int64_t width, double* to) {
  const int64_t full = channels / SIDE * SIDE;
  for (int64_t i = 0; i < channels; i++)
    for (int64_t j = 0; j < channels; j++) {
      const bool inner = i < full && j < full;
      if (inner && i % SIDE == 0 && j % SIDE == 0)
        correlate_cell<SIDE, SIDE>(a + i * step, b + j * step, step, width,
                                   to + i * channels + j, channels);
      else if (!inner)
        correlate_cell<1, 1>(a + i * step, b + j * step, step, width, to + i * channels + j,
                             channels);
    }
}

}  // namespace restore_led
