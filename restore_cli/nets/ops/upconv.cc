// Transposed convolutions of 2x2 at stride 2, which double the sides: each of the four pixels of
// an output square is a 1x1 convolution of one input pixel. They are computed as one product with
// four times the outputs, by the kernels of winograd.cc; forward and backward.
// To be read after unet_layers.cc.

namespace restore_unet {

constexpr int PHASES = 4;  // phase k is the pixel at (k / 2, k % 2) of a square

// `pixels` of the row of squares at (n, y, x): phase, block, pixel.
static void gather_squares(const Map& from, int64_t n, int64_t y, int64_t x, int64_t pixels,
                           float* to) {
  for (int k = 0; k < PHASES; k++)
    for (int64_t block = 0; block < from.blocks; block++, to += PIXELS * LANES) {
      const float* pixel = from.at(n, block, 2 * y + k / 2, 2 * x + k % 2);
      for (int64_t t = 0; t < pixels; t++) store(to + t * LANES, load(pixel + 2 * t * LANES));
    }
}

// weight: (inputs, outputs, 2, 2). Those of the forward pass take inputs to phases and outputs;
// with `backward`, phases and outputs to inputs.
static void pack_up_weights(const Layer& layer, bool backward, float* to) {
  const int64_t wide = PHASES * layer.outputs;
  const int64_t from_blocks = (backward ? wide : layer.inputs) / LANES;
  const int64_t to_blocks = (backward ? layer.inputs : wide) / LANES;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < layer.inputs; i++)
    for (int64_t j = 0; j < wide; j++) {
      const int64_t k = backward ? j : i, column = backward ? i : j;
      to[weight_place(from_blocks, to_blocks, column / LANES, k) + column % LANES] =
          layer.weight[(i * layer.outputs + j % layer.outputs) * PHASES + j / layer.outputs];
    }
}

inline int64_t up_weights_size(const Layer& layer) { return PHASES * layer.inputs * layer.outputs; }

// Floats that the functions below need for each thread.
inline int64_t up_scratch_size(const Layer& layer, bool gradient) {
  const int64_t wide = PHASES * layer.outputs;
  return PIXELS * (wide + layer.inputs) + (gradient ? up_weights_size(layer) + wide : 0);
}

// u: from `pack_up_weights`. There is no activation.
static void up_convolve(const Layer& layer, const Map& in, const float* u, const Map& out,
                        float* scratch, int threads) {
  const Chunk to{PIXELS, PHASES * out.blocks};
  for_pixels(in, threads, up_scratch_size(layer, false), scratch,
             [&](int64_t n, int64_t y, int64_t x, int64_t pixels, float* m) {
    multiply_panels(in.at(n, 0, y, x), row_of(in), pixels, u, m, to);
    for (int k = 0; k < PHASES; k++)
      for (int64_t block = 0; block < out.blocks; block++, m += PIXELS * LANES) {
        const Vector bias = load(layer.bias + block * LANES);
        float* pixel = out.at(n, block, 2 * y + k / 2, 2 * x + k % 2);
        for (int64_t t = 0; t < pixels; t++)
          store(pixel + 2 * t * LANES, load(m + t * LANES) + bias);
      }
  });
}

// From the gradient of the result to that of `in` before the ReLU that made it.
// u: from `pack_up_weights` with `backward`.
static void up_input_gradient(const Layer& layer, const Map& out_grad, const float* u,
                              const Map& in, float slope, const Map& grad, float* scratch,
                              int threads) {
  const Chunk from{PIXELS, PHASES * out_grad.blocks}, to{PIXELS, in.blocks};
  for_pixels(in, threads, up_scratch_size(layer, false), scratch,
             [&](int64_t n, int64_t y, int64_t x, int64_t pixels, float* v) {
    float* m = v + PIXELS * from.blocks * LANES;
    gather_squares(out_grad, n, y, x, pixels, v);
    multiply_panels(v, from, pixels, u, m, to);
    for (int64_t block = 0; block < in.blocks; block++, m += PIXELS * LANES)
      for (int64_t t = 0; t < pixels; t++)
        store(grad.at(n, block, y, x + t),
              rectify_gradient(load(in.at(n, block, y, x + t)), load(m + t * LANES), slope));
  });
}

static void up_weight_gradient(const Layer& layer, const Map& in, const Map& out_grad,
                               float* scratch, int threads) {
  const Chunk from = row_of(in), to{PIXELS, PHASES * out_grad.blocks};
  const int64_t wide = PHASES * layer.outputs, size = up_weights_size(layer);
  const int64_t share = up_scratch_size(layer, true);
  for (int part = 0; part < threads; part++)
    std::memset(scratch + part * share, 0, (size + wide) * sizeof(float));
  for_pixels(in, threads, share, scratch,
             [&](int64_t n, int64_t y, int64_t x, int64_t pixels, float* sums) {
    float *bias_sums = sums + size, *m = bias_sums + wide;
    gather_squares(out_grad, n, y, x, pixels, m);
    for (int64_t block = 0; block < to.blocks; block++) {
      Vector sum = load(bias_sums + block * LANES);
      for (int64_t t = 0; t < pixels; t++) sum += load(m + (block * PIXELS + t) * LANES);
      store(bias_sums + block * LANES, sum);
    }
    for_panels(to.blocks, [&](int64_t block, auto vectors) {
      for (int64_t k = 0; k < in.blocks; k++)
        accumulate<decltype(vectors)::value>(
            in.at(n, k, y, x), m + block * PIXELS * LANES, pixels, PIXELS * LANES,
            sums + weight_place(from.blocks, to.blocks, block, k * LANES));
    });
  });
  auto total_of = [&](int64_t place) {
    float sum = 0;
    for (int part = 0; part < threads; part++) sum += scratch[part * share + place];
    return sum;
  };
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < layer.inputs; i++)
    for (int64_t j = 0; j < wide; j++)
      layer.weight_grad[(i * layer.outputs + j % layer.outputs) * PHASES + j / layer.outputs] =
          total_of(weight_place(from.blocks, to.blocks, j / LANES, i) + j % LANES);
  for (int64_t o = 0; o < layer.outputs; o++) {
    layer.bias_grad[o] = 0;
    for (int k = 0; k < PHASES; k++)
      layer.bias_grad[o] += total_of(size + k * layer.outputs + o);
  }
}

}  // namespace restore_unet
