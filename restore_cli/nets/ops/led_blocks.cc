// Blocks of NAFNet (Chen et al., ECCV 2022) and Restormer (Zamir et al., CVPR 2022) in two passes
// each: the first ends with the sums over the image that the block's attention needs, the second
// with its output. To be read after blocked.cc and led_layers.cc.
//
// An image, or a window of its rows, is (count, channels, height, width). Of a window, `above` and
// `below` say whether the first and the last row only surround those that are asked for; where
// they do not, the image ends, and zeros lie beyond.

namespace restore_led {

struct Window {
  int64_t count, channels, height, width, above, below;
  int64_t plane() const { return height * width; }
  int64_t rows() const { return height - above - below; }
};

struct Norm {
  const float *weight, *bias;  // no bias: the mean is left in
  float eps;
};

struct Conv {
  const float *weight, *bias;  // bias may be null
  int64_t outputs;
};

constexpr int64_t RING_FLOATS = 1 << 17;  // of the three rows that a depthwise convolution reads
constexpr int64_t BAND = 64;              // rows that a thread does in one go, at most

// Cuts rows into bands and columns into tiles whose rows of `channels`, with a pixel on either
// side, fill whole grains.
struct Cut {
  int64_t columns, tiles, band, bands;

  Cut(const Window& w, int64_t channels) {
    const int64_t fitting = std::max<int64_t>(1, RING_FLOATS / (3 * channels) / GRAIN) * GRAIN - 2;
    tiles = (w.width + fitting - 1) / fitting;
    columns = tiles == 1 ? w.width : fitting;
    band = BAND;
    while (band > 8 && w.count * tiles * ((w.rows() + band - 1) / band) < 4 * available_threads())
      band /= 2;
    bands = (w.rows() + band - 1) / band;
  }
  int64_t tasks(const Window& w) const { return w.count * tiles * bands; }
};

// One band of one tile: rows first to last, columns left to left + width, without the frame.
struct Task {
  int64_t n, first, last, left, width, before, after;  // before, after: columns beyond the tile
  Task(const Window& w, const Cut& cut, int64_t index) {
    const int64_t band = index % cut.bands, tile = index / cut.bands % cut.tiles;
    n = index / cut.bands / cut.tiles;
    first = band * cut.band;
    last = std::min(first + cut.band, w.rows());
    left = tile * cut.columns;
    width = std::min(cut.columns, w.width - left);
    before = left > 0;
    after = left + width < w.width;
  }
};

// Three rows of `channels` lines, with one column on either side of the tile.
struct Ring {
  float* base;
  int64_t channels, step;
  float* row(int64_t y) const { return base + (y + 3) % 3 * channels * step; }
};

// Calls make(y, row) for the rows that exist, and emit(y) when y and its neighbours are there.
// Of what make leaves in the ring, the columns beyond the image become zero.
template <class Make, class Emit>
void sweep(const Window& w, const Task& t, const Ring& ring, Make make, Emit emit) {
  for (int64_t y = t.first - 1; y <= t.last; y++) {
    float* row = ring.row(y);
    if (y + w.above < 0 || y + w.above >= w.height) {
      std::memset(row, 0, ring.channels * ring.step * sizeof(float));
    } else {
      make(y, row);
      for (int64_t c = 0; c < ring.channels; c++) {
        if (!t.before) row[c * ring.step] = 0;
        if (!t.after) row[c * ring.step + t.width + 1] = 0;
      }
    }
    if (y > t.first) emit(y - 1);
  }
}

// Row y of the tile with its frame, normalised, in `to`; a column beyond the image is zero.
inline void normalised_row(const Window& w, const Task& t, const float* x, int64_t y,
                           const Norm& norm, float* to, int64_t step) {
  const int64_t width = t.before + t.width + t.after;
  const float* from = x + t.n * w.channels * w.plane() + (y + w.above) * w.width + t.left;
  fetch(from - t.before, w.plane(), w.channels, width, to + !t.before, step);
  normalise(to, step, w.channels, t.width + 2, norm.eps, norm.bias, to, step);
}

// out (count, channels, rows, width) = product of the halves of depthwise(conv(norm x)); sums
// (count, channels) over its pixels.
static void naf_gather(const Window& w, const float* x, const Norm& norm, const Conv& conv,
                       const Conv& depthwise, float* out, float* sums) {
  const int64_t wide = conv.outputs, half = wide / 2, plane = w.rows() * w.width;
  Packed packed;
  packed.pack(conv.weight, conv.bias, wide, w.channels, norm.weight, norm.bias, nullptr);
  const Cut cut(w, wide);
  const int64_t step = line_step(cut.columns + 2), tasks = cut.tasks(w);
  std::vector<double> parts(tasks * half, 0.0);
#pragma omp parallel
  {
    Scratch scratch((w.channels + 3 * wide) * step);
    const Ring ring{scratch.at(w.channels * step), wide, step};
#pragma omp for schedule(dynamic)
    for (int64_t index = 0; index < tasks; index++) {
      const Task t(w, cut, index);
      double* part = parts.data() + index * half;
      sweep(w, t, ring, [&](int64_t y, float* row) {
        normalised_row(w, t, x, y, norm, scratch.at(0), step);
        multiply(packed, scratch.at(0), step, nullptr, 0, {row, step, in_vectors(t.width + 2)});
      }, [&](int64_t y) {
        float* rows[3] = {ring.row(y - 1), ring.row(y), ring.row(y + 1)};
        float* to = out + t.n * half * plane + y * w.width + t.left;
        for (int64_t c = 0; c < half; c++, to += plane) {
          const Taps first(depthwise.weight, depthwise.bias, c, rows, step);
          const Taps second(depthwise.weight, depthwise.bias, c + half, rows, step);
          Vector sum = {};
          int64_t p = 0;
          for (; p + LANES <= t.width; p += LANES) {
            const Vector made = first.at(p) * second.at(p);
            store(to + p, made);
            sum += made;
          }
          if (p < t.width) {
            const Vector made = only(first.at(p) * second.at(p), t.width - p);
            store_within(to + p, made, t.width - p);
            sum += made;
          }
          part[c] += lanes_sum(sum);
        }
      });
    }
  }
  for (int64_t n = 0; n < w.count; n++)
    for (int64_t c = 0; c < half; c++) {
      double sum = 0;
      for (int64_t i = n * cut.tiles * cut.bands; i < (n + 1) * cut.tiles * cut.bands; i++)
        sum += parts[i * half + c];
      sums[n * half + c] = (float)sum;
    }
}

// y = x + beta conv3(gated * attention), out = y + gamma conv5(gate(conv4(norm y))), where
// attention = sca(sums / pixels). All but the attention is pixel by pixel.
static void naf_finish(const Window& w, const float* x, const float* gated, const float* sums,
                       double pixels, const Conv& sca, const Conv& conv3, const float* beta,
                       const Norm& norm, const Conv& conv4, const Conv& conv5, const float* gamma,
                       float* out) {
  const int64_t channels = w.channels, half = conv3.outputs, wide = conv4.outputs;
  const int64_t plane = w.plane();
  const int64_t chunk = std::min<int64_t>(
      std::max<int64_t>(1, RING_FLOATS / (2 * channels + wide) / GRAIN), 16) * GRAIN;
  const int64_t step = line_step(chunk), chunks = (plane + chunk - 1) / chunk;
  std::vector<Packed> first(w.count);
  Packed second, third;
  for (int64_t n = 0; n < w.count; n++) {
    std::vector<float> attention(half);
    for (int64_t c = 0; c < half; c++) {
      double sum = 0;
      for (int64_t k = 0; k < half; k++) sum += (double)sca.weight[c * half + k] * sums[n * half + k];
      attention[c] = (float)(sum / pixels + sca.bias[c]);
    }
    first[n].pack(conv3.weight, conv3.bias, channels, half, attention.data(), nullptr, beta);
  }
  second.pack(conv4.weight, conv4.bias, wide, channels, norm.weight, norm.bias, nullptr);
  third.pack(conv5.weight, conv5.bias, channels, wide / 2, nullptr, nullptr, gamma);
#pragma omp parallel
  {
    const int64_t most = std::max(channels, std::max(half, wide / 2));
    Scratch scratch((channels + most + wide) * step);
    float *kept = scratch.at(0), *other = scratch.at(channels * step);
    float* gates = scratch.at((channels + most) * step);
#pragma omp for schedule(dynamic)
    for (int64_t index = 0; index < w.count * chunks; index++) {
      const int64_t n = index / chunks, at = index % chunks * chunk;
      const int64_t width = std::min(chunk, plane - at), whole = in_vectors(width);
      const int64_t place = n * channels * plane + at;
      fetch(x + place, plane, channels, width, kept, step);
      fetch(gated + n * half * plane + at, plane, half, width, other, step);
      multiply(first[n], other, step, kept, step, {kept, step, whole});
      normalise(kept, step, channels, width, norm.eps, norm.bias, other, step);
      multiply(second, other, step, nullptr, 0, {gates, step, whole});
      for (int64_t c = 0; c < wide / 2; c++)
        for (int64_t p = 0; p < width; p += LANES)
          store(other + c * step + p, load(gates + c * step + p) *
                                          load(gates + (c + wide / 2) * step + p));
      multiply(third, other, step, kept, step, {out + place, plane, width});
    }
  }
}

// Queries and keys of depthwise(conv(norm x)) enter `products` (count, heads, c, c) and their
// `squares` (count, 2 channels), summed over the pixels; values (count, channels, rows, width).
static void restormer_gather(const Window& w, const float* x, const Norm& norm, const Conv& conv,
                             const Conv& depthwise, int64_t heads, float* values, float* products,
                             float* squares) {
  const int64_t channels = w.channels, wide = 3 * channels, c = channels / heads;
  const int64_t plane = w.rows() * w.width, share = heads * c * c + 2 * channels;
  Packed packed;
  packed.pack(conv.weight, conv.bias, wide, channels, norm.weight, norm.bias, nullptr);
  const Cut cut(w, wide);
  const int64_t step = line_step(cut.columns + 2), tasks = cut.tasks(w);
  // Queries and keys of several rows at once, so that sums over lanes are rare.
  const int64_t whole = in_vectors(cut.columns);
  const int64_t most = std::max<int64_t>(1, 1024 / whole), long_step = line_step(most * whole);
  std::vector<double> total(w.count * share, 0.0);
#pragma omp parallel
  {
    Scratch scratch((channels + 3 * wide) * step + 2 * channels * long_step);
    const Ring ring{scratch.at(channels * step), wide, step};
    float* lines = scratch.at((channels + 3 * wide) * step);
    std::vector<double> part(share);
#pragma omp for schedule(static, 1) ordered
    for (int64_t index = 0; index < tasks; index++) {
      const Task t(w, cut, index);
      std::fill(part.begin(), part.end(), 0.0);
      int64_t filled = 0;
      auto flush = [&]() {
        for (int64_t h = 0; h < heads; h++)
          correlate(lines + h * c * long_step, lines + (channels + h * c) * long_step, long_step,
                    c, filled, part.data() + h * c * c);
        for (int64_t k = 0; k < 2 * channels; k++)
          correlate_cell<1, 1>(lines + k * long_step, lines + k * long_step, 0, filled,
                               part.data() + heads * c * c + k, 0);
        filled = 0;
      };
      sweep(w, t, ring, [&](int64_t y, float* row) {
        normalised_row(w, t, x, y, norm, scratch.at(0), step);
        multiply(packed, scratch.at(0), step, nullptr, 0, {row, step, in_vectors(t.width + 2)});
      }, [&](int64_t y) {
        float* rows[3] = {ring.row(y - 1), ring.row(y), ring.row(y + 1)};
        for (int64_t k = 0; k < 2 * channels; k++) {
          const Taps taps(depthwise.weight, depthwise.bias, k, rows, step);
          float* to = lines + k * long_step + filled;
          int64_t p = 0;
          for (; p + LANES <= t.width; p += LANES) store(to + p, taps.at(p));
          if (p < t.width) store(to + p, only(taps.at(p), t.width - p));
        }
        float* to = values + t.n * channels * plane + y * w.width + t.left;
        for (int64_t k = 2 * channels; k < wide; k++, to += plane) {
          const Taps taps(depthwise.weight, depthwise.bias, k, rows, step);
          for (int64_t p = 0; p < t.width; p += LANES)
            store_within(to + p, taps.at(p), t.width - p);
        }
        filled += in_vectors(t.width);
        if (filled + whole > most * whole) flush();
      });
      flush();
#pragma omp ordered
      for (int64_t i = 0; i < share; i++) total[t.n * share + i] += part[i];
    }
  }
  for (int64_t n = 0; n < w.count; n++) {
    const double* from = total.data() + n * share;
    for (int64_t i = 0; i < heads * c * c; i++) products[n * heads * c * c + i] = (float)from[i];
    for (int64_t k = 0; k < 2 * channels; k++)
      squares[n * 2 * channels + k] = (float)from[heads * c * c + k];
  }
}

// The matrix (channels, channels) that takes values to the attention's output: each head's part of
// `out` times softmax(temperature * products / lengths).
static std::vector<float> mixing(const float* products, const float* squares,
                                 const float* temperature, int64_t heads, int64_t channels,
                                 const float* out) {
  const int64_t c = channels / heads;
  std::vector<float> made(channels * channels);
  std::vector<double> row(c), sums(channels * channels, 0.0);
  for (int64_t i = 0; i < channels; i++) {
    const int64_t h = i / c;
    auto length = [&](int64_t k) { return std::max(std::sqrt((double)squares[k]), 1e-12); };
    double top = -1e300, sum = 0;
    for (int64_t j = 0; j < c; j++) {
      row[j] = temperature[h] * (products[i * c + j] / length(i) / length(channels + h * c + j));
      top = std::max(top, row[j]);
    }
    for (int64_t j = 0; j < c; j++) sum += row[j] = std::exp(row[j] - top);
    for (int64_t o = 0; o < channels; o++) {
      const double factor = out[o * channels + i] / sum;
      for (int64_t j = 0; j < c; j++) sums[o * channels + h * c + j] += factor * row[j];
    }
  }
  for (int64_t i = 0; i < channels * channels; i++) made[i] = (float)sums[i];
  return made;
}

// y = x + mixing values + bias, out = y + project_out(gelu(first half) * second half) of
// depthwise(project_in(norm y)); out (count, channels, rows, width).
static void restormer_finish(const Window& w, const float* x, const float* values,
                             const float* products, const float* squares, const float* temperature,
                             int64_t heads, const Conv& attention_out, const Norm& norm,
                             const Conv& project_in, const Conv& depthwise, const Conv& project_out,
                             float* out) {
  const int64_t channels = w.channels, wide = project_in.outputs, half = wide / 2;
  const int64_t c = channels / heads, plane = w.rows() * w.width;
  std::vector<Packed> first(w.count);
  Packed second, third;
  for (int64_t n = 0; n < w.count; n++) {
    const auto matrix = mixing(products + n * heads * c * c, squares + n * 2 * channels,
                               temperature, heads, channels, attention_out.weight);
    first[n].pack(matrix.data(), attention_out.bias, channels, channels, nullptr, nullptr,
                  nullptr);
  }
  second.pack(project_in.weight, project_in.bias, wide, channels, norm.weight, norm.bias, nullptr);
  third.pack(project_out.weight, project_out.bias, channels, half, nullptr, nullptr, nullptr);
  const Cut cut(w, wide);
  const int64_t step = line_step(cut.columns + 2), tasks = cut.tasks(w);
#pragma omp parallel
  {
    Scratch scratch((4 * channels + 3 * wide + half) * step);
    float *other = scratch.at(0), *gates = scratch.at((4 * channels + 3 * wide) * step);
    const Ring kept{scratch.at(channels * step), channels, step};
    const Ring ring{scratch.at(4 * channels * step), wide, step};
#pragma omp for schedule(dynamic)
    for (int64_t index = 0; index < tasks; index++) {
      const Task t(w, cut, index);
      const int64_t framed = t.before + t.width + t.after, shift = !t.before;
      sweep(w, t, ring, [&](int64_t y, float* row) {
        const int64_t place = t.n * channels * w.plane() + (y + w.above) * w.width + t.left -
                              t.before;
        float* line = kept.row(y);
        fetch(x + place, w.plane(), channels, framed, line + shift, step);
        fetch(values + place, w.plane(), channels, framed, other + shift, step);
        multiply(first[t.n], other, step, line, step, {line, step, in_vectors(t.width + 2)});
        normalise(line, step, channels, t.width + 2, norm.eps, norm.bias, other, step);
        multiply(second, other, step, nullptr, 0, {row, step, in_vectors(t.width + 2)});
      }, [&](int64_t y) {
        float* rows[3] = {ring.row(y - 1), ring.row(y), ring.row(y + 1)};
        for (int64_t k = 0; k < half; k++) {
          const Taps gate(depthwise.weight, depthwise.bias, k, rows, step);
          const Taps value(depthwise.weight, depthwise.bias, k + half, rows, step);
          for (int64_t p = 0; p < t.width; p += LANES)
            store(gates + k * step + p, gelu(gate.at(p)) * value.at(p));
        }
        multiply(third, gates, step, kept.row(y) + 1, step,
                 {out + t.n * channels * plane + y * w.width + t.left, plane, t.width});
      });
    }
  }
}

}  // namespace restore_led
