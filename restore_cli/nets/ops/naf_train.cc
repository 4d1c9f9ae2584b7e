// Gradients of a block of NAFNet (Chen et al., ECCV 2022). To be read after led_gradients.cc.
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

constexpr int64_t GROUP_FLOATS = 1 << 20;  // of the widest map of the images done at a time

static restore_blocked::Pool gradient_pool;

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
  std::vector<double> sca_bias(half, 0.0);
  std::fill(to.sca_weight, to.sca_weight + half * half, 0.f);

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
      float* shared = mean_grad.data() + (start + own) * half;
      const float* sum = sums + (start + own) * half;
      for (int64_t c = 0; c < half; c++) {
        double value = 0;
        for (int64_t index = 0; index < parts; index++)
          value += bias_totals[index * biases + Part::doubles(b, channels) + own * half + c];
        sca_bias[c] += value;
        const float share = (float)(value / plane), *weight = b.sca.weight + c * half;
        float* weight_grad = to.sca_weight + c * half;
#pragma omp simd
        for (int64_t k = 0; k < half; k++) {
          weight_grad[k] += share * sum[k];
          shared[k] += share * weight[k];
        }
      }
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
  for (int64_t c = 0; c < half; c++) to.sca_bias[c] = (float)sca_bias[c];
  for (int64_t c = 0; c < wide; c++) {
    for (int i = 0; i < 9; i++) to.depthwise_weight[c * 9 + i] = (float)taps[c * 10 + i];
    to.depthwise_bias[c] = (float)taps[c * 10 + 9];
  }
}

}  // namespace restore_led
