// Products of transformed tiles and weights, the bulk of a Winograd convolution. To be read after
// forms.cc.

namespace restore_winograd {

using namespace restore_blocked;

// The kernel of the forward pass keeps ROWS x VECTORS sums in registers, that of the weights'
// gradient GRAD_ROWS x VECTORS.
#if defined(__AVX512F__)
constexpr int VECTORS = 2, ROWS = 12, FEW_ROWS = 4, GRAD_ROWS = 8;
#elif defined(__AVX__)
constexpr int VECTORS = 2, ROWS = 6, FEW_ROWS = 2, GRAD_ROWS = 4;
#elif defined(__aarch64__)
constexpr int VECTORS = 4, ROWS = 6, FEW_ROWS = 2, GRAD_ROWS = 4;
#else
constexpr int VECTORS = 2, ROWS = 4, FEW_ROWS = 2, GRAD_ROWS = 4;
#endif
constexpr int POINTS = 36;

// Chunks of transforms: point p of tile t, word c of block b at p * step() + (b * tiles + t) *
// words + c. The odd vector at the end keeps points out of each other's cache lines.
struct Chunk {
  int64_t tiles, blocks;
  int words = LANES;
  int64_t step() const { return tiles * blocks * words + LANES; }
  int64_t size() const { return POINTS * step(); }
};

// The place of vector `block` of outputs for word k of the input, relative to its point.
INLINE int64_t weight_place(int64_t in_blocks, int64_t out_blocks, int64_t block, int64_t k,
                            int words = LANES) {
  const int64_t full = out_blocks / VECTORS * VECTORS;  // blocks after these are on their own
  if (block >= full) return (block * in_blocks * words + k) * LANES;
  return (block / VECTORS * VECTORS * in_blocks * words + k * VECTORS + block % VECTORS) * LANES;
}

// rows x (vectors * LANES) products: sum over k of v[row][k] * u[k][output].
template <class Form, int rows, int vectors>
INLINE void multiply(const float* v, int64_t step, int64_t blocks, const float* u, float* m,
                     int64_t out_step) {
  Vector sum[rows][vectors] = {};
  for (int64_t block = 0; block < blocks; block++, v += step)
    for (int k = 0; k < Form::WORDS; k++, u += vectors * LANES) {
      Vector weight[vectors];
      for (int j = 0; j < vectors; j++) weight[j] = load(u + j * LANES);
      for (int i = 0; i < rows; i++) {
        const auto value = Form::spread(v + i * Form::WORDS + k);
        for (int j = 0; j < vectors; j++) sum[i][j] = Form::add(sum[i][j], weight[j], value);
      }
    }
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < vectors; j++) store(m + j * out_step + i * LANES, sum[i][j]);
}

template <int vectors, class Form = Single>
static void multiply_tiles(const float* v, const Chunk& in, int64_t tiles, const float* u,
                           float* m, const Chunk& out) {
  const int64_t step = in.tiles * Form::WORDS, out_step = out.tiles * LANES;
  int64_t t = 0;
  for (; t + ROWS - FEW_ROWS < tiles; t += ROWS)
    multiply<Form, ROWS, vectors>(v + t * Form::WORDS, step, in.blocks, u, m + t * LANES,
                                  out_step);
  for (; t < tiles; t += FEW_ROWS)
    multiply<Form, FEW_ROWS, vectors>(v + t * Form::WORDS, step, in.blocks, u, m + t * LANES,
                                      out_step);
}

// All panels of outputs: calls `kernel` with the number of vectors as a constant.
template <class Kernel>
INLINE void for_panels(int64_t out_blocks, Kernel kernel) {
  int64_t block = 0;
  for (; block + VECTORS <= out_blocks; block += VECTORS)
    kernel(block, std::integral_constant<int, VECTORS>());
  for (; block < out_blocks; block++) kernel(block, std::integral_constant<int, 1>());
}

// All products of one point.
template <class Form = Single>
static void multiply_panels(const float* v, const Chunk& in, int64_t tiles, const float* u,
                            float* m, const Chunk& out) {
  for_panels(out.blocks, [&](int64_t block, auto vectors) {
    multiply_tiles<decltype(vectors)::value, Form>(
        v, in, tiles, u + block * in.blocks * Form::WORDS * LANES, m + block * out.tiles * LANES,
        out);
  });
}

}  // namespace restore_winograd
