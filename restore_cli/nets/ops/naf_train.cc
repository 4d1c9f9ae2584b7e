// Gradients of a block of NAFNet (Chen et al., ECCV 2022). To be read after led_blocks.cc.
//
// The forward pass keeps the block's input and the gated part; the rest is computed again, a few
// pixels at a time. What scales rows or columns of a 1x1 convolution (beta, gamma, the factors of
// the normalisation) is folded into it, and its gradient comes out of that of the product: of the
// matrix W' = diag(r) W diag(s), dW = diag(r) dW' diag(s) and dr = rows of W diag(s) * dW'.

namespace restore_led {

struct BlockGradient {
  float *norm1_weight, *norm1_bias, *conv1_weight, *conv1_bias, *depthwise_weight, *depthwise_bias;
  float *sca_weight, *sca_bias, *conv3_weight, *conv3_bias, *beta;
  float *norm2_weight, *norm2_bias, *conv4_weight, *conv4_bias, *conv5_weight, *conv5_bias, *gamma;
};

struct Block {
  Norm norm1;
  Conv conv1, depthwise, sca, conv3;
  const float* beta;
  Norm norm2;
  Conv conv4, conv5;
  const float* gamma;
};

constexpr int64_t GROUP_FLOATS = 1 << 21;  // of the widest map of the images done at a time

static restore_blocked::Pool gradient_pool;

// The weights (rows, columns) of a convolution with its scales, turned: from outputs to inputs.
static Packed turned(const float* from, int64_t rows, int64_t columns, const float* in_scale,
                     const float* out_scale) {
  std::vector<float> made(rows * columns);
  for (int64_t row = 0; row < rows; row++)
    for (int64_t k = 0; k < columns; k++)
      made[k * rows + row] = from[row * columns + k] * (in_scale ? in_scale[k] : 1) *
                             (out_scale ? out_scale[row] : 1);
  Packed packed;
  packed.pack(made.data(), nullptr, columns, rows, nullptr, nullptr, nullptr);
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

// What one thread adds up, one after the other in one piece of memory.
struct Part {
  Sums conv1, conv3, conv4, conv5;
  static int64_t floats(const Block& b, int64_t channels) {
    return Sums::size(b.conv1.outputs, channels) +
           Sums::size(channels, b.conv1.outputs / 2) + Sums::size(b.conv4.outputs, channels) +
           Sums::size(channels, b.conv4.outputs / 2);
  }
  static int64_t doubles(const Block& b, int64_t channels) {
    return b.conv1.outputs + b.conv4.outputs + 2 * channels;
  }
  Part(const Block& b, int64_t channels, float* weight, double* bias) {
    auto place = [&](Sums& s, int64_t rows, int64_t columns) {
      s = {rows, columns, weight, bias};
      weight += Sums::size(rows, columns);
      bias += rows;
    };
    place(conv1, b.conv1.outputs, channels);
    place(conv3, channels, b.conv1.outputs / 2);
    place(conv4, b.conv4.outputs, channels);
    place(conv5, channels, b.conv4.outputs / 2);
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

// x, gated and sums as `naf_finish` got them, and the gradient of its output.
static void naf_gradient(const Window& w, const float* x, const float* gated, const float* sums,
                         const float* out_grad, const Block& b, float* x_grad,
                         const BlockGradient& to) {
  const int64_t channels = w.channels, plane = w.plane();
  const int64_t wide = b.conv1.outputs, half = wide / 2, wide2 = b.conv4.outputs, half2 = wide2 / 2;
  const int64_t widest = std::max(wide, wide2), most = std::max({channels, half, half2});
  Packed first, third, fourth, first_back = turned(b.conv1.weight, wide, channels, b.norm1.weight,
                                                   nullptr);
  first.pack(b.conv1.weight, b.conv1.bias, wide, channels, b.norm1.weight, b.norm1.bias, nullptr);
  third.pack(b.conv3.weight, b.conv3.bias, channels, half, nullptr, nullptr, b.beta);
  fourth.pack(b.conv4.weight, b.conv4.bias, wide2, channels, b.norm2.weight, b.norm2.bias, nullptr);
  const Packed third_back = turned(b.conv3.weight, channels, half, nullptr, b.beta);
  const Packed fourth_back = turned(b.conv4.weight, wide2, channels, b.norm2.weight, nullptr);
  const Packed fifth_back = turned(b.conv5.weight, channels, half2, nullptr, b.gamma);
  std::vector<float> attention(w.count * half), mean_grad(w.count * half);
  for (int64_t n = 0; n < w.count; n++)
    for (int64_t c = 0; c < half; c++) {
      double sum = 0;
      for (int64_t k = 0; k < half; k++)
        sum += (double)b.sca.weight[c * half + k] * sums[n * half + k];
      attention[n * half + c] = (float)(sum / plane + b.sca.bias[c]);
    }

  const int64_t lines = 4 * channels + 2 * half + widest + half2 + most;
  const int64_t chunk = std::min<int64_t>(
      std::max<int64_t>(1, RING_FLOATS / lines / GRAIN), 16) * GRAIN;
  const int64_t step = line_step(chunk), chunks = (plane + chunk - 1) / chunk;
  const int64_t group = std::min(w.count, std::max<int64_t>(1, GROUP_FLOATS / (wide * plane)));
  const int64_t parts = std::min<int64_t>(available_threads(), group * chunks);
  const int64_t share = Pool::rounded(Part::floats(b, channels));
  const int64_t biases = Part::doubles(b, channels) + group * half;
  gradient_pool.reserve(Pool::rounded(group * (wide + half) * plane + LANES) + parts * share);
  float* inner = gradient_pool.take(group * (wide + half) * plane + LANES);
  float* gates = inner + group * wide * plane;
  float* totals = gradient_pool.take(parts * share);
  std::memset(totals, 0, parts * share * sizeof(float));
  std::vector<double> bias_totals(parts * biases, 0.0), taps(wide * 10, 0.0);
  std::vector<double> sca(half * half, 0.0), sca_bias(half, 0.0);

  for (int64_t start = 0; start < w.count; start += group) {
    const int64_t images = std::min(group, w.count - start), total = images * chunks;
#pragma omp parallel for schedule(static, 1)
    for (int64_t index = 0; index < parts; index++) {
      double* bias = bias_totals.data() + index * biases;
      double* attention_grad = bias + Part::doubles(b, channels);
      const Part part(b, channels, totals + index * share, bias);
      Scratch scratch((lines + 1) * step + in_vectors(most) * step);
      float *given = scratch.at(0), *added = given + channels * step;
      float *norm = added + channels * step, *grad = norm + channels * step;
      float *gate = grad + channels * step, *weighed = gate + half * step;
      float *hidden = weighed + half * step, *product = hidden + widest * step;
      float *other = product + half2 * step, *scale = other + most * step;
      float* room = scale + step;
      std::fill(attention_grad, attention_grad + group * half, 0.0);
      for (int64_t task = total * index / parts; task < total * (index + 1) / parts; task++) {
        const int64_t own = task / chunks, n = start + own, at = task % chunks * chunk;
        const int64_t width = std::min(chunk, plane - at), whole = in_vectors(width);
        const float* factor = attention.data() + n * half;
        fetch(x + n * channels * plane + at, plane, channels, width, given, step);
        normalise(given, step, channels, whole, b.norm1.eps, true, norm, step);
        multiply(first, norm, step, nullptr, 0,
                 {inner + own * wide * plane + at, plane, width});
        fetch(gated + n * half * plane + at, plane, half, width, gate, step);
        for (int64_t c = 0; c < half; c++)
          for (int64_t p = 0; p < whole; p += LANES)
            store(weighed + c * step + p, load(gate + c * step + p) * factor[c]);
        multiply(third, weighed, step, given, step, {added, step, whole});
        normalise(added, step, channels, whole, b.norm2.eps, true, norm, step, scale);
        multiply(fourth, norm, step, nullptr, 0, {hidden, step, whole});
        fetch(out_grad + n * channels * plane + at, plane, channels, width, grad, step);
        multiply(fifth_back, grad, step, nullptr, 0, {other, step, whole});
        for (int64_t c = 0; c < half2; c++)
          for (int64_t p = 0; p < whole; p += LANES) {
            float *one = hidden + c * step + p, *two = one + half2 * step;
            const Vector a = load(one), d = load(two), back = load(other + c * step + p);
            store(product + c * step + p, a * d);
            store(one, back * d);
            store(two, back * a);
          }
        part.conv5.add(grad, product, step, width, room);
        part.conv4.add(hidden, norm, step, width, room);
        multiply(fourth_back, hidden, step, nullptr, 0, {other, step, whole});
        normalise_gradient(norm, scale, other, grad, step, channels, whole, grad);
        put(grad, step, channels, width, x_grad + n * channels * plane + at, plane);
        part.conv3.add(grad, weighed, step, width, room);
        multiply(third_back, grad, step, nullptr, 0, {other, step, whole});
        for (int64_t c = 0; c < half; c++) {
          Vector sum = {};
          for (int64_t p = 0; p < whole; p += LANES) {
            const Vector back = load(other + c * step + p);
            sum += back * load(gate + c * step + p);
            store(other + c * step + p, back * factor[c]);
          }
          attention_grad[own * half + c] += lanes_sum(sum);
        }
        put(other, step, half, width, gates + own * half * plane + at, plane);
      }
    }
    for (int64_t own = 0; own < images; own++) {
      std::vector<double> back(half, 0.0);
      float* shared = mean_grad.data() + (start + own) * half;
      const float* sum = sums + (start + own) * half;
      for (int64_t c = 0; c < half; c++) {
        double value = 0;
        for (int64_t index = 0; index < parts; index++)
          value += bias_totals[index * biases + Part::doubles(b, channels) + own * half + c];
        sca_bias[c] += value;
        for (int64_t k = 0; k < half; k++) {
          sca[c * half + k] += value * sum[k] / plane;
          back[k] += value * b.sca.weight[c * half + k];
        }
      }
      for (int64_t k = 0; k < half; k++) shared[k] = (float)(back[k] / plane);
    }
#pragma omp parallel
    {
      Scratch scratch(4 * Framed::size(w));
#pragma omp for schedule(static)
      for (int64_t c = 0; c < half; c++)
        for (int64_t own = 0; own < images; own++) {
          float* image = inner + own * wide * plane;
          const int64_t pair[2] = {c, c + half};
          float* const in[2] = {image + c * plane, image + (c + half) * plane};
          double* const both[2] = {&taps[10 * c], &taps[10 * (c + half)]};
          gate_gradient(w, b.depthwise, pair, in, gates + (own * half + c) * plane,
                        mean_grad[(start + own) * half + c], scratch.at(0), both);
        }
    }
#pragma omp parallel for schedule(static, 1)
    for (int64_t index = 0; index < parts; index++) {
      const Part part(b, channels, totals + index * share, bias_totals.data() + index * biases);
      Scratch scratch((lines + 1) * step + in_vectors(most) * step);
      float *norm = scratch.at(0), *grad = norm + channels * step, *scale = grad + channels * step;
      float *hidden = scale + step, *other = hidden + widest * step;
      float* room = other + most * step;
      for (int64_t task = total * index / parts; task < total * (index + 1) / parts; task++) {
        const int64_t own = task / chunks, n = start + own, at = task % chunks * chunk;
        const int64_t width = std::min(chunk, plane - at), whole = in_vectors(width);
        float* place = x_grad + n * channels * plane + at;
        fetch(x + n * channels * plane + at, plane, channels, width, norm, step);
        normalise(norm, step, channels, whole, b.norm1.eps, true, norm, step, scale);
        fetch(inner + own * wide * plane + at, plane, wide, width, hidden, step);
        part.conv1.add(hidden, norm, step, width, room);
        multiply(first_back, hidden, step, nullptr, 0, {other, step, whole});
        fetch(place, plane, channels, width, grad, step);
        normalise_gradient(norm, scale, other, grad, step, channels, whole, grad);
        put(grad, step, channels, width, place, plane);
      }
    }
  }

  for (int64_t index = 1; index < parts; index++) {
    for (int64_t i = 0; i < Part::floats(b, channels); i++) totals[i] += totals[index * share + i];
    for (int64_t i = 0; i < Part::doubles(b, channels); i++)
      bias_totals[i] += bias_totals[index * biases + i];
  }
  const Part all(b, channels, totals, bias_totals.data());
  unfold_columns(b.conv1, b.norm1, all.conv1, to.conv1_weight, to.conv1_bias, to.norm1_weight,
                 to.norm1_bias);
  unfold_rows(b.conv3, b.beta, all.conv3, to.conv3_weight, to.conv3_bias, to.beta);
  unfold_columns(b.conv4, b.norm2, all.conv4, to.conv4_weight, to.conv4_bias, to.norm2_weight,
                 to.norm2_bias);
  unfold_rows(b.conv5, b.gamma, all.conv5, to.conv5_weight, to.conv5_bias, to.gamma);
  for (int64_t i = 0; i < half * half; i++) to.sca_weight[i] = (float)sca[i];
  for (int64_t c = 0; c < half; c++) to.sca_bias[c] = (float)sca_bias[c];
  for (int64_t c = 0; c < wide; c++) {
    for (int i = 0; i < 9; i++) to.depthwise_weight[c * 9 + i] = (float)taps[c * 10 + i];
    to.depthwise_bias[c] = (float)taps[c * 10 + 9];
  }
}

}  // namespace restore_led
