// What U-Nets have around their 3x3 convolutions: the first and the last layer and max-pooling,
// each with its gradient. To be read after winograd.cc.

namespace restore_unet {

using namespace restore_winograd;

struct Layer {
  const float *weight, *bias;
  float *weight_grad, *bias_grad;
  int64_t inputs, outputs;
};

// A network, and the images given to it. With `transposed` each step up is a transposed convolution
// of 2x2 that halves the channels; else it is bilinear, and the last convolution below halves them.
struct Problem {
  int64_t count, channels, height, width;
  int depth;
  bool n2v2, transposed, half;  // the latter: the forward pass takes products in bfloat16
  float slope;  // of ReLU below zero
  std::vector<Layer> layers;  // in the order of the state dict, the last one 1x1
  // Numbers of a level's first layers on the way down and up, the latter a transposed convolution
  // where there are such.
  int down(int level) const { return 2 * level; }
  int up(int level) const {
    return 2 * depth + 2 + (transposed ? 3 : 2) * (depth - 1 - level);
  }
  bool is_up(int64_t layer) const {
    const int64_t past = layer - up(depth - 1);
    return transposed && past >= 0 && past % 3 == 0 && layer + 1 < count_layers();
  }
  bool joins(int level) const { return level || !n2v2; }
  int count_layers() const { return up(-1) + 1; }
  int64_t first() const { return layers[0].outputs; }
  int64_t classes() const { return layers.back().outputs; }
  int64_t last_weights_size() const { return (classes() + LANES - 1) / LANES * LANES * first(); }
  int64_t image_size() const {
    return Pool::rounded(count * channels * (height + 2) * (width + 2));
  }
};

static void frame_image(const Problem& p, const float* x, float* image) {
  const int64_t line = p.width + 2;
  std::memset(image, 0, p.image_size() * sizeof(float));
  for (int64_t plane = 0; plane < p.count * p.channels; plane++)
    for (int64_t y = 0; y < p.height; y++)
      std::memcpy(image + (plane * (p.height + 2) + y + 1) * line + 1,
                  x + (plane * p.height + y) * p.width, p.width * sizeof(float));
}

// weight (outputs, inputs, taps) -> (input, tap, output)
static void outputs_last(const Layer& layer, int taps, float* to) {
  for (int64_t k = 0; k < layer.inputs * taps; k++)
    for (int64_t o = 0; o < layer.outputs; o++)
      to[k * layer.outputs + o] = layer.weight[o * layer.inputs * taps + k];
}

template <int pixels>
INLINE void first_pixels(const float* image, int64_t line, int64_t plane, int64_t channels,
                         const float* weight, int64_t outputs, Vector bias, float slope,
                         float* to) {
  Vector sum[pixels];
  for (int i = 0; i < pixels; i++) sum[i] = bias;
  for (int64_t c = 0; c < channels; c++)
    for (int tap = 0; tap < 9; tap++, weight += outputs) {
      const Vector factor = load(weight);
      const float* from = image + c * plane + tap / 3 * line + tap % 3;
      for (int i = 0; i < pixels; i++) sum[i] += factor * from[i];
    }
  for (int i = 0; i < pixels; i++) store(to + i * LANES, rectify(sum[i], slope));
}

static void first_layer(const Problem& p, const float* image, const Map& to, float* weight) {
  const Layer& layer = p.layers[0];
  const int64_t line = p.width + 2, plane = line * (p.height + 2);
  outputs_last(layer, 9, weight);
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < p.count * p.height; row++) {
    const int64_t n = row / p.height, y = row % p.height;
    const float* from = image + n * p.channels * plane + y * line;
    for (int64_t block = 0; block < to.blocks; block++) {
      const Vector bias = load(layer.bias + block * LANES);
      const float* factors = weight + block * LANES;
      float* pixel = to.at(n, block, y, 0);
      int64_t x = 0;
      for (; x + 8 <= p.width; x += 8)
        first_pixels<8>(from + x, line, plane, p.channels, factors, layer.outputs, bias,
                        p.slope, pixel + x * LANES);
      for (; x < p.width; x++)
        first_pixels<1>(from + x, line, plane, p.channels, factors, layer.outputs, bias,
                        p.slope, pixel + x * LANES);
    }
  }
}

static void first_layer_gradient(const Problem& p, const float* image, const Map& grad,
                                 float* scratch, int threads) {
  const Layer& layer = p.layers[0];
  const int64_t line = p.width + 2, plane = line * (p.height + 2), rows = p.count * p.height;
  const int64_t taps = p.channels * 9, share = Pool::rounded((taps + 1) * layer.outputs);
  const int64_t parts = std::min<int64_t>(threads, rows);
#pragma omp parallel for schedule(static, 1)
  for (int64_t part = 0; part < parts; part++) {
    float* sums = scratch + part * share;
    std::memset(sums, 0, share * sizeof(float));
    for (int64_t row = rows * part / parts; row < rows * (part + 1) / parts; row++) {
      const int64_t n = row / p.height, y = row % p.height;
      for (int64_t block = 0; block < grad.blocks; block++) {
        const float* from = grad.at(n, block, y, 0);
        float* place = sums + block * LANES;
        for (int64_t c = 0; c < p.channels; c++, place += 9 * layer.outputs) {
          const float* pixel = image + (n * p.channels + c) * plane + y * line;
          Vector sum[9];
          for (int tap = 0; tap < 9; tap++) sum[tap] = load(place + tap * layer.outputs);
          for (int64_t x = 0; x < p.width; x++) {
            const Vector value = load(from + x * LANES);
            for (int tap = 0; tap < 9; tap++)
              sum[tap] += value * pixel[tap / 3 * line + tap % 3 + x];
          }
          for (int tap = 0; tap < 9; tap++) store(place + tap * layer.outputs, sum[tap]);
        }
        Vector sum = load(place);
        for (int64_t x = 0; x < p.width; x++) sum += load(from + x * LANES);
        store(place, sum);
      }
    }
  }
  for (int64_t k = 0; k <= taps; k++)
    for (int64_t o = 0; o < layer.outputs; o++) {
      float sum = 0;
      for (int64_t part = 0; part < parts; part++)
        sum += scratch[part * share + k * layer.outputs + o];
      (k < taps ? layer.weight_grad[o * taps + k] : layer.bias_grad[o]) = sum;
    }
}

INLINE float total(Vector v) {
  float parts[LANES];
  store(parts, v);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; i++) parts[i] += parts[i + half];
  return parts[0];
}

// Gradient (count, channels, height, width) of the network's input from that of the first
// layer's output before ReLU.
static void input_gradient(const Problem& p, const Map& grad, float* weight, float* to) {
  const Layer& layer = p.layers[0];
  outputs_last(layer, 9, weight);
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < p.count * p.channels * p.height; row++) {
    const int64_t y = row % p.height, c = row / p.height % p.channels;
    const int64_t n = row / p.height / p.channels;
    for (int64_t x = 0; x < p.width; x++) {
      Vector sum = {};
      for (int64_t block = 0; block < grad.blocks; block++)
        for (int tap = 0; tap < 9; tap++)
          sum += load(weight + (c * 9 + tap) * layer.outputs + block * LANES) *
                 load(grad.at(n, block, y + 1 - tap / 3, x + 1 - tap % 3));
      to[row * p.width + x] = total(sum);
    }
  }
}

constexpr int64_t PIXELS = 4 * ROWS;  // of a row that are taken together

// Calls action(n, y, x, pixels, scratch) for all pixels of `map`, a few of a row at a time.
template <class Action>
INLINE void for_pixels(const Map& map, int64_t parts, int64_t share, float* scratch,
                       Action action) {
  const int64_t rows = map.count * map.height;
#pragma omp parallel for schedule(static, 1)
  for (int64_t part = 0; part < parts; part++)
    for (int64_t row = rows * part / parts; row < rows * (part + 1) / parts; row++)
      for (int64_t x = 0; x < map.width; x += PIXELS)
        action(row / map.height, row % map.height, x, std::min(PIXELS, map.width - x),
               scratch + part * share);
}

// A map as `multiply_tiles` takes its input: pixels of a row.
inline Chunk row_of(const Map& map) { return Chunk{map.plane() / LANES, map.blocks}; }

// 1x1 convolution without activation; `more`, where given, is added.
// weight: room for last_weights_size(); scratch: PIXELS * LANES floats for each thread.
static void last_layer(const Problem& p, const Map& from, const float* more, float* to,
                       float* weight, float* scratch, int threads) {
  const Layer& layer = p.layers.back();
  const int64_t classes = p.classes(), inputs = layer.inputs;
  std::memset(weight, 0, p.last_weights_size() * sizeof(float));
  for (int64_t k = 0; k < classes; k++)
    for (int64_t c = 0; c < inputs; c++)
      weight[(k / LANES * inputs + c) * LANES + k % LANES] = layer.weight[k * inputs + c];
  for_pixels(from, threads, PIXELS * LANES, scratch,
             [&](int64_t n, int64_t y, int64_t x, int64_t pixels, float* m) {
    for (int64_t k = 0; k < classes; k++) {
      if (k % LANES == 0)
        multiply_tiles<1>(from.at(n, 0, y, x), row_of(from), pixels, weight + k * inputs, m,
                          Chunk{PIXELS, 1});
      const int64_t at = ((n * classes + k) * p.height + y) * p.width + x;
      for (int64_t t = 0; t < pixels; t++)
        to[at + t] = m[t * LANES + k % LANES] + layer.bias[k] + (more ? more[at + t] : 0);
    }
  });
}

// `grad` receives the gradient of the map before its ReLU. In blind-spot training most pixels
// have no part in the loss; those cost nothing but zeros.
static void last_layer_gradient(const Problem& p, const float* output_grad, const Map& from,
                                const Map& grad, float* scratch, int threads) {
  const Layer& layer = p.layers.back();
  const int64_t classes = p.classes(), inputs = layer.inputs, area = p.height * p.width;
  const int64_t rows = p.count * p.height, share = Pool::rounded((inputs + 1) * classes);
  const int64_t parts = std::min<int64_t>(threads, rows);
#pragma omp parallel for schedule(static, 1)
  for (int64_t part = 0; part < parts; part++) {
    float *sums = scratch + part * share, *bias_sums = sums + inputs * classes;
    std::memset(sums, 0, share * sizeof(float));
    for (int64_t row = rows * part / parts; row < rows * (part + 1) / parts; row++) {
      const int64_t n = row / p.height, y = row % p.height;
      const float* values = output_grad + n * classes * area + y * p.width;
      for (int64_t x = 0; x < p.width; x++) {
        bool any = false;
        for (int64_t k = 0; k < classes; k++) any |= values[k * area + x] != 0;
        for (int64_t block = 0; block < from.blocks; block++) {
          Vector sum = {};
          if (any) {
            const Vector active = load(from.at(n, block, y, x));
            for (int64_t k = 0; k < classes; k++) {
              const int64_t place = k * inputs + block * LANES;
              const float value = values[k * area + x];
              sum += load(layer.weight + place) * value;
              store(sums + place, load(sums + place) + active * value);
            }
            sum = rectify_gradient(active, sum, p.slope);
          }
          store(grad.at(n, block, y, x), sum);
        }
        if (any)
          for (int64_t k = 0; k < classes; k++) bias_sums[k] += values[k * area + x];
      }
    }
  }
  for (int64_t i = 0; i < (inputs + 1) * classes; i++) {
    float sum = 0;
    for (int64_t part = 0; part < parts; part++) sum += scratch[part * share + i];
    (i < inputs * classes ? layer.weight_grad[i] : layer.bias_grad[i - inputs * classes]) = sum;
  }
}

// Rows of all planes of a map, spread over the threads.
template <class Action>
INLINE void for_rows(const Map& map, Action action) {
  const int64_t rows = map.count * map.blocks * map.height;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < rows; i++) {
    const int64_t plane = i / map.height;
    action(plane / map.blocks, plane % map.blocks, i % map.height);
  }
}

// Adds a value to whichever of a 2x2 square is the (first) largest.
struct Square {
  const float* in;
  int64_t line;
  const float* at(int k) const { return in + k / 2 * line + k % 2 * LANES; }
  INLINE Vector largest() const {
    return larger(larger(load(at(0)), load(at(1))), larger(load(at(2)), load(at(3))));
  }
  INLINE void give(Vector value, Vector to[4]) const {
    const Vector most = largest(), zero = {};
    for (int k = 0; k < 4; k++) {
      const Vector here = load(at(k));
      to[k] += here == most ? value : zero;
      value = here == most ? zero : value;
    }
  }
};

static void max_pool(const Map& in, const Map& out) {
  for_rows(out, [&](int64_t n, int64_t block, int64_t y) {
    for (int64_t x = 0; x < out.width; x++)
      store(out.at(n, block, y, x), Square{in.at(n, block, 2 * y, 2 * x), in.stride()}.largest());
  });
}

// Adds what comes through the pooling to the gradient of the map that was pooled, and takes it
// through that map's ReLU.
static void max_pool_gradient(const Map& in, const Map& out_grad, const Map& grad, float slope) {
  for_rows(out_grad, [&](int64_t n, int64_t block, int64_t y) {
    for (int64_t x = 0; x < out_grad.width; x++) {
      const Square square{in.at(n, block, 2 * y, 2 * x), in.stride()};
      float* place = grad.at(n, block, 2 * y, 2 * x);
      Vector sum[4];
      for (int k = 0; k < 4; k++) sum[k] = load(place + k / 2 * square.line + k % 2 * LANES);
      square.give(load(out_grad.at(n, block, y, x)), sum);
      for (int k = 0; k < 4; k++)
        store(place + k / 2 * square.line + k % 2 * LANES,
              rectify_gradient(load(square.at(k)), sum[k], slope));
    }
  });
}

}  // namespace restore_unet
