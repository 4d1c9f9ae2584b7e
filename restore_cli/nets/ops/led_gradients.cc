// Gradients of the pieces of led_layers.cc: products with 1x1 weights, normalisation over channels,
// and the depthwise convolution whose halves are multiplied. To be read after led_blocks.cc.

namespace restore_led {

// The weights (rows, columns) of a convolution with its scales, turned: from outputs to inputs.
static Packed turned(const float* from, int64_t rows, int64_t columns, const float* in_scale,
                     const float* out_scale) {
  Packed packed;
  const int64_t panels = (columns + ROWS - 1) / ROWS;
  packed.inputs = rows;
  packed.outputs = columns;
  packed.bias.assign(panels * ROWS, 0);
  packed.weight.assign(panels * ROWS * rows, 0);
  for (int64_t row = 0; row < rows; row++) {
    const float scale = out_scale ? out_scale[row] : 1, *line = from + row * columns;
    for (int64_t k = 0; k < columns; k++)
      packed.weight[(k / ROWS * rows + row) * ROWS + k % ROWS] =
          line[k] * scale * (in_scale ? in_scale[k] : 1);
  }
  return packed;
}

// Lines of `channels` to (pixel, channel); the channels are filled up to whole vectors with zeros.
static void by_pixels(const float* from, int64_t step, int64_t channels, int64_t width, float* to) {
  const int64_t room = in_vectors(channels);
  if (room > channels) std::memset(to, 0, width * room * sizeof(float));
  for (int64_t c = 0; c < channels; c += LANES)
    for (int64_t p = 0; p < width; p++)
      for (int64_t k = c; k < std::min(c + LANES, channels); k++)
        to[p * room + k] = from[k * step + p];
}

template <int rows, int vectors>
INLINE void outer_cell(const float* a, int64_t step, const float* b, int64_t room, int64_t width,
                       float* to) {
  // Sums of a few pixels are added to those of many, which loses less than one after the other.
  Vector sum[rows][vectors] = {};
  for (int64_t p = 0; p < width; p++, b += room) {
    Vector value[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) value[v] = load(b + v * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) sum[r][v] += a[r * step + p] * value[v];
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
      float* place = to + r * room + v * LANES;
      store(place, load(place) + sum[r][v]);
    }
}

// to (rows, room) += sums over `width` pixels of products of lines `a` with `b`, from by_pixels.
static void outer(const float* a, int64_t step, int64_t rows, const float* b, int64_t columns,
                  int64_t width, float* to) {
  const int64_t room = in_vectors(columns);
  for (int64_t k = 0; k < room; k += GRAIN) {
    auto all = [&](auto count) {
      constexpr int vectors = decltype(count)::value;
      int64_t row = 0;
      for (; row + ROWS <= rows; row += ROWS)
        outer_cell<ROWS, vectors>(a + row * step, step, b + k, room, width, to + row * room + k);
      for (; row < rows; row++)
        outer_cell<1, vectors>(a + row * step, step, b + k, room, width, to + row * room + k);
    };
    const int64_t vectors = std::min<int64_t>(VECTORS, (room - k) / LANES);
    if (vectors == 3) all(std::integral_constant<int, 3>());
    else if (vectors == 2) all(std::integral_constant<int, 2>());
    else all(std::integral_constant<int, 1>());
  }
}

// Sums over a matrix product's pixels: dW' and the gradient of its bias.
struct Sums {
  int64_t rows, columns;
  float* weight;
  double* bias;
  static int64_t size(int64_t rows, int64_t columns) { return rows * in_vectors(columns); }
  // From the gradient of the product's output, lines, and its input; `room` is scratch memory.
  void add(const float* grad, const float* in, int64_t step, int64_t width, float* room) const {
    by_pixels(in, step, columns, width, room);
    outer(grad, step, rows, room, columns, width, weight);
    for (int64_t row = 0; row < rows; row++) {
      Vector sum = {};
      for (int64_t p = 0; p < width; p += LANES) sum += load(grad + row * step + p);
      bias[row] += lanes_sum(sum);
    }
  }
};

// grad, of the normalised values `made`, becomes that of what was divided by 1 / scale, plus `add`.
static void normalise_gradient(const float* made, const float* scale, const float* grad,
                               const float* add, int64_t step, int64_t channels, int64_t width,
                               float* to) {
  const float share = 1.f / channels;
  for (int64_t p = 0; p < width; p += LANES) {
    Vector mean = {}, along = {};
    for (int64_t c = 0; c < channels; c++) {
      const Vector value = load(grad + c * step + p);
      mean += value;
      along += value * load(made + c * step + p);
    }
    mean *= share;
    along *= share;
    const Vector factor = load(scale + p);
    for (int64_t c = 0; c < channels; c++)
      store(to + c * step + p, load(add + c * step + p) +
            factor * (load(grad + c * step + p) - mean - along * load(made + c * step + p)));
  }
}

static void put(const float* from, int64_t from_step, int64_t channels, int64_t width, float* to,
                int64_t to_step) {
  for (int64_t c = 0; c < channels; c++)
    std::memcpy(to + c * to_step, from + c * from_step, width * sizeof(float));
}

// A channel's plane, with zeros around it.
struct Framed {
  float* base;
  int64_t step;
  static int64_t line(int64_t width) { return in_vectors(width + 2) + LANES; }
  static int64_t size(const Window& w) { return (w.height + 2) * line(w.width) + LANES; }
  float* row(int64_t y) const { return base + (y + 1) * step; }  // begins left of the plane
  void lines(int64_t y, float* three[3]) const {
    for (int i = 0; i < 3; i++) three[i] = row(y - 1 + i);
  }
};

// The two channels that are multiplied, of one image: from the depthwise convolution's inputs
// `in` (first and second) and the gradient of their product, less `mean_grad`, which all pixels
// share, to the gradients of the inputs, in their place; sums: 9 taps and the bias of both.
static void gate_gradient(const Window& w, const Conv& depthwise, const int64_t channel[2],
                          float* const in[2], const float* grad, float mean_grad,
                          float* scratch, double* const sums[2]) {
  const int64_t step = Framed::line(w.width), size = Framed::size(w);
  const Framed given[2] = {{scratch, step}, {scratch + size, step}};
  const Framed back[2] = {{scratch + 2 * size, step}, {scratch + 3 * size, step}};
  float* none[3] = {scratch, scratch, scratch};
  for (int k = 0; k < 2; k++)
    for (int64_t y = 0; y < w.height; y++)
      std::memcpy(given[k].row(y) + 1, in[k] + y * w.width, w.width * sizeof(float));
  Taps taps[2] = {{depthwise.weight, depthwise.bias, channel[0], none, 0},
                  {depthwise.weight, depthwise.bias, channel[1], none, 0}};
  float flipped[2][9];
  Vector total[2][9] = {}, bias[2] = {};
  for (int k = 0; k < 2; k++)
    for (int i = 0; i < 9; i++) flipped[k][i] = depthwise.weight[channel[k] * 9 + 8 - i];
  for (int64_t y = 0; y < w.height; y++) {
    float* lines[2][3];
    for (int k = 0; k < 2; k++) {
      given[k].lines(y, lines[k]);
      for (int i = 0; i < 3; i++) taps[k].line[i] = lines[k][i];
    }
    for (int64_t p = 0; p < w.width; p += LANES) {
      const Vector value = load(grad + y * w.width + p) + mean_grad;
      const Vector made[2] = {only(value * taps[1].at(p), w.width - p),
                              only(value * taps[0].at(p), w.width - p)};
      for (int k = 0; k < 2; k++) {
        store(back[k].row(y) + 1 + p, made[k]);
        bias[k] += made[k];
      }
    }
    for (int k = 0; k < 2; k++)
      for (int64_t p = 0; p < w.width; p += LANES) {
        const Vector made = load(back[k].row(y) + 1 + p);
#pragma GCC unroll 9
        for (int i = 0; i < 9; i++) total[k][i] += made * load(lines[k][i / 3] + p + i % 3);
      }
  }
  for (int k = 0; k < 2; k++) {
    Taps across(flipped[k], nullptr, 0, none, 0);
    for (int64_t y = 0; y < w.height; y++) {
      float* three[3];
      back[k].lines(y, three);
      for (int i = 0; i < 3; i++) across.line[i] = three[i];
      for (int64_t p = 0; p < w.width; p += LANES)
        store_within(in[k] + y * w.width + p, across.at(p), w.width - p);
    }
    for (int i = 0; i < 9; i++) sums[k][i] += lanes_sum(total[k][i]);
    sums[k][9] += lanes_sum(bias[k]);
  }
}

// Of out = conv(norm in): the gradients of the convolution and the normalisation's factors.
static void unfold_columns(const Conv& conv, const Norm& norm, const Sums& s, float* weight,
                           float* bias, float* norm_weight, float* norm_bias) {
  std::vector<double> factor(s.columns), offset(s.columns);
  const int64_t room = in_vectors(s.columns);
  for (int64_t o = 0; o < s.rows; o++) {
    const float total = (float)s.bias[o];
    bias[o] = total;
    for (int64_t k = 0; k < s.columns; k++) {
      const float own = conv.weight[o * s.columns + k], grad = s.weight[o * room + k];
      weight[o * s.columns + k] = grad * norm.weight[k] + total * norm.bias[k];
      factor[k] += (double)own * grad;
      offset[k] += (double)own * total;
    }
  }
  for (int64_t k = 0; k < s.columns; k++) {
    norm_weight[k] = (float)factor[k];
    norm_bias[k] = (float)offset[k];
  }
}

// Of out = scale conv(in): the gradients of the convolution and the scale.
static void unfold_rows(const Conv& conv, const float* scale, const Sums& s, float* weight,
                        float* bias, float* scale_grad) {
  const int64_t room = in_vectors(s.columns);
  for (int64_t o = 0; o < s.rows; o++) {
    double sum = conv.bias[o] * s.bias[o];
    bias[o] = (float)(scale[o] * s.bias[o]);
    for (int64_t k = 0; k < s.columns; k++) {
      const float grad = s.weight[o * room + k];
      weight[o * s.columns + k] = scale[o] * grad;
      sum += (double)conv.weight[o * s.columns + k] * grad;
    }
    scale_grad[o] = (float)sum;
  }
}

}  // namespace restore_led
