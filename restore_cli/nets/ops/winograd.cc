// 3x3 convolutions with padding 1, forward and backward, by Winograd's algorithm F(4x4, 3x3)
// (Lavin and Gray, CVPR 2016): 36 products stand for the 144 of a tile of 4x4 outputs.
//
// Tiles are taken in chunks whose transforms stay in the L2 cache, so that nothing of the size of
// the transformed map is ever stored. The gradient of the weights is the exact transpose: the
// gradient of the output is spread to 6x6 and multiplied with the same transform of the input.
// The forward pass may also take its products in bfloat16. To be read after products.cc.

namespace restore_winograd {

constexpr int64_t CHUNK_FLOATS = 1 << 17;  // of both transforms of a chunk of tiles

// The interpolation points are 0, P, -P, Q, -Q and infinity. These make rounding errors a
// third of those with 1 and 2.
constexpr float P = 0.75f, Q = 1.5f, P2 = P * P, Q2 = Q * Q;
constexpr float NORM_0 = 1 / (P2 * Q2), NORM_P = 1 / (2 * P2 * (P2 - Q2)),
                NORM_Q = 1 / (2 * Q2 * (Q2 - P2));

// t = B^T d
INLINE void spread_input(const Vector d[6], Vector t[6]) {
  const Vector even_p = d[4] - Q2 * d[2], odd_p = d[3] - Q2 * d[1];
  const Vector even_q = d[4] - P2 * d[2], odd_q = d[3] - P2 * d[1];
  t[0] = d[4] - (P2 + Q2) * d[2] + (P2 * Q2) * d[0];
  t[1] = even_p + P * odd_p;
  t[2] = even_p - P * odd_p;
  t[3] = even_q + Q * odd_q;
  t[4] = even_q - Q * odd_q;
  t[5] = d[5] - (P2 + Q2) * d[3] + (P2 * Q2) * d[1];
}

// y = A^T m
INLINE void gather_output(const Vector m[6], Vector y[4]) {
  const Vector sum_p = m[1] + m[2], diff_p = m[1] - m[2];
  const Vector sum_q = m[3] + m[4], diff_q = m[3] - m[4];
  y[0] = m[0] + sum_p + sum_q;
  y[1] = P * diff_p + Q * diff_q;
  y[2] = P2 * sum_p + Q2 * sum_q;
  y[3] = m[5] + (P * P2) * diff_p + (Q * Q2) * diff_q;
}

// m = A y
INLINE void spread_output(const Vector y[4], Vector m[6]) {
  const Vector even_p = y[0] + P2 * y[2], odd_p = y[1] + P2 * y[3];
  const Vector even_q = y[0] + Q2 * y[2], odd_q = y[1] + Q2 * y[3];
  m[0] = y[0];
  m[1] = even_p + P * odd_p;
  m[2] = even_p - P * odd_p;
  m[3] = even_q + Q * odd_q;
  m[4] = even_q - Q * odd_q;
  m[5] = y[3];
}

// u = G g
INLINE void spread_weight(const Vector g[3], Vector u[6]) {
  const Vector even_p = NORM_P * (g[0] + P2 * g[2]), odd_p = (NORM_P * P) * g[1];
  const Vector even_q = NORM_Q * (g[0] + Q2 * g[2]), odd_q = (NORM_Q * Q) * g[1];
  u[0] = NORM_0 * g[0];
  u[1] = even_p + odd_p;
  u[2] = even_p - odd_p;
  u[3] = even_q + odd_q;
  u[4] = even_q - odd_q;
  u[5] = g[2];
}

// g = G^T u
INLINE void gather_weight(const Vector u[6], Vector g[3]) {
  const Vector sum_p = NORM_P * (u[1] + u[2]), diff_p = (NORM_P * P) * (u[1] - u[2]);
  const Vector sum_q = NORM_Q * (u[3] + u[4]), diff_q = (NORM_Q * Q) * (u[3] - u[4]);
  g[0] = NORM_0 * u[0] + sum_p + sum_q;
  g[1] = diff_p + diff_q;
  g[2] = P2 * sum_p + Q2 * sum_q + u[5];
}

// Both sides of a square: `line` takes N values to M. Loops over squares are unrolled here and
// below, or GCC keeps the squares in memory: transforms take a third longer.
template <int N, int M, void (*line)(const Vector*, Vector*)>
INLINE void both_ways(const Vector (&in)[N][N], Vector (&out)[M][M]) {
  Vector half[N][M];
#pragma GCC unroll 8
  for (int y = 0; y < N; y++) line(in[y], half[y]);
#pragma GCC unroll 8
  for (int x = 0; x < M; x++) {
    Vector column[N], made[M];
#pragma GCC unroll 8
    for (int y = 0; y < N; y++) column[y] = half[y][x];
    line(column, made);
#pragma GCC unroll 8
    for (int y = 0; y < M; y++) out[y][x] = made[y];
  }
}

inline int64_t chunk_tiles(int64_t in_blocks, int64_t out_blocks) {
  const int64_t fitting = CHUNK_FLOATS / (POINTS * LANES * (in_blocks + out_blocks));
  // Many channels fit nowhere; then each read of the weights serves a few more tiles.
  return std::min<int64_t>(8 * ROWS, std::max<int64_t>(2 * ROWS, fitting / ROWS * ROWS));
}

// Transformed weights: point, then panel of VECTORS blocks of outputs (or a single one, where no
// more are left), then input, then output.
inline int64_t weights_size(int64_t in_blocks, int64_t out_blocks, bool half = false) {
  return POINTS * in_blocks * out_blocks * LANES * LANES / (half ? 2 : 1);
}

// Floats that `convolve` or `weight_gradient` needs for each thread.
inline int64_t scratch_size(int64_t in_blocks, int64_t out_blocks, bool gradient) {
  const int64_t tiles = chunk_tiles(in_blocks, out_blocks);
  int64_t floats = Pool::rounded(Chunk{tiles, in_blocks}.size()) +
                   Pool::rounded(Chunk{tiles, out_blocks}.size());
  if (gradient) floats += weights_size(in_blocks, out_blocks) + Pool::rounded(out_blocks * LANES);
  return floats;
}

template <class Form>
static void transform_weights_to(const float* weight, int64_t inputs, int64_t outputs,
                                 bool backward, float* to) {
  const int64_t from_blocks = (backward ? outputs : inputs) / LANES;
  const int64_t to_blocks = (backward ? inputs : outputs) / LANES;
  const int64_t step = from_blocks * to_blocks * Form::WORDS * LANES;
  const int64_t lane_step = backward ? 9 : inputs * 9, k_step = backward ? inputs * 9 : 9;
#pragma omp parallel for schedule(static)
  for (int64_t word = 0; word < from_blocks * Form::WORDS; word++)
    for (int64_t block = 0; block < to_blocks; block++) {
      Vector u[Form::DEPTH][6][6];
      for (int k = 0; k < Form::DEPTH; k++) {
        const float* from =
            weight + (word * Form::DEPTH + k) * k_step + block * LANES * lane_step;
        Vector g[3][3];
        for (int tap = 0; tap < 9; tap++)
          for (int lane = 0; lane < LANES; lane++)
            g[tap / 3][tap % 3][lane] = from[lane * lane_step + (backward ? 8 - tap : tap)];
        both_ways<3, 6, spread_weight>(g, u[k]);
      }
      float* place = to + weight_place(from_blocks, to_blocks, block, word, Form::WORDS);
      for (int p = 0; p < POINTS; p++) {
        Vector both[Form::DEPTH];
        for (int k = 0; k < Form::DEPTH; k++) both[k] = u[k][p / 6][p % 6];
        Form::put_weights(place + p * step, both);
      }
    }
}

// weight: (outputs, inputs, 3, 3). With `backward` the transforms are those of the convolution
// that takes the gradient of the output to that of the input. With `half` they are in bfloat16.
static void transform_weights(const float* weight, int64_t inputs, int64_t outputs, bool backward,
                              float* to, bool half = false) {
  with_form(half, [&](auto form) {
    transform_weights_to<decltype(form)>(weight, inputs, outputs, backward, to);
  });
}

// Which image, and where in it, the tile of a running number begins.
struct Tile {
  int64_t n, y, x;
  Tile(const Map& map, int64_t index) {
    const int64_t columns = map.tiles_x(), rows = map.tiles_y(), line = index / columns;
    x = (index - line * columns) * 4;
    n = line / rows;
    y = (line - n * rows) * 4;
  }
};

// The transform of a tile of inputs, whose first pixel lies at `from`, in rows of `line` floats.
INLINE void spread_tile(const float* from, int64_t line, Vector (&v)[6][6]) {
  Vector d[6][6];
  for (int y = 0; y < 6; y++)
    for (int x = 10; x < 14; x++) __builtin_prefetch(from + y * line + x * LANES);
#pragma GCC unroll 6
  for (int y = 0; y < 6; y++)
#pragma GCC unroll 6
    for (int x = 0; x < 6; x++) d[y][x] = load(from + y * line + x * LANES);
  both_ways<6, 6, spread_input>(d, v);
}

template <class Form = Single>
static void transform_inputs(const Map* in, int maps, int64_t first, int64_t tiles,
                             const Chunk& chunk, float* to) {
  const int64_t line = in[0].stride(), step = chunk.step();
  float* row = to;
  for (int i = 0; i < maps; i++)
    for (int64_t block = 0; block < in[i].blocks; block++, row += chunk.tiles * Form::WORDS)
      for (int64_t t = 0; t < tiles; t++) {
        const Tile tile(in[i], first + t);
        Vector v[6][6];
        spread_tile(in[i].at(tile.n, block, tile.y - 1, tile.x - 1), line, v);
        float* place = row + t * Form::WORDS;
#pragma GCC unroll 36
        for (int p = 0; p < POINTS; p++) Form::put(place + p * step, v[p / 6][p % 6]);
      }
}

// One block of outputs of a chunk: adds the bias and applies ReLU, or the mask; then adds a map.
static void finish_tiles(const float* m, const Chunk& chunk, int64_t first, int64_t tiles,
                         const float* bias, float slope, const Map* mask, const Map* added,
                         const Map& out, int64_t block) {
  const int64_t line = out.stride(), step = chunk.step();
  const Vector zero = {}, more = bias ? load(bias) : zero;
  for (int64_t t = 0; t < tiles; t++) {
    const Tile tile(out, first + t);
    Vector product[6][6], y[4][4];
#pragma GCC unroll 36
    for (int p = 0; p < POINTS; p++)
      product[p / 6][p % 6] = load(m + t * LANES + p * step);
    both_ways<6, 4, gather_output>(product, y);
    if (bias)
#pragma GCC unroll 16
      for (int k = 0; k < 16; k++) y[k / 4][k % 4] = rectify(y[k / 4][k % 4] + more, slope);
    if (mask) {
      const float* active = mask->at(tile.n, block, tile.y, tile.x);
      for (int k = 0; k < 16; k++)
        y[k / 4][k % 4] = rectify_gradient(load(active + k / 4 * line + k % 4 * LANES),
                                           y[k / 4][k % 4], slope);
    }
    if (added) {
      const float* term = added->at(tile.n, block, tile.y, tile.x);
      const int64_t below = added->stride();
#pragma GCC unroll 16
      for (int k = 0; k < 16; k++) y[k / 4][k % 4] += load(term + k / 4 * below + k % 4 * LANES);
    }
    float* pixel = out.at(tile.n, block, tile.y, tile.x);
    const int64_t rows = std::min<int64_t>(4, out.height - tile.y),
                  columns = std::min<int64_t>(4, out.width - tile.x);
    if (rows == 4 && columns == 4) {
#pragma GCC unroll 16
      for (int k = 0; k < 16; k++) store(pixel + k / 4 * line + k % 4 * LANES, y[k / 4][k % 4]);
    } else {
      for (int64_t a = 0; a < rows; a++)
        for (int64_t b = 0; b < columns; b++) store(pixel + a * line + b * LANES, y[a][b]);
    }
  }
}

template <class Form>
static void convolve_in(const Map* in, int ins, const float* u, const float* bias, float slope,
                        const Map* out, int outs, const Map* mask, float* scratch, int threads,
                        const Map* added) {
  int64_t in_blocks = 0, out_blocks = 0;
  for (int i = 0; i < ins; i++) in_blocks += in[i].blocks;
  for (int i = 0; i < outs; i++) out_blocks += out[i].blocks;
  const int64_t room = chunk_tiles(in_blocks, out_blocks);
  const Chunk from{room, in_blocks, Form::WORDS}, to{room, out_blocks};
  const int64_t total = in[0].count * in[0].tiles_y() * in[0].tiles_x();
  const int64_t share = scratch_size(in_blocks, out_blocks, false);
  const int64_t step = in_blocks * out_blocks * Form::WORDS * LANES;
  const int64_t parts = std::min<int64_t>(threads, (total + FEW_ROWS - 1) / FEW_ROWS);
#pragma omp parallel for schedule(static, 1)
  for (int64_t part = 0; part < parts; part++) {
    float *v = scratch + part * share, *m = v + Pool::rounded(from.size());
    const int64_t stop = total * (part + 1) / parts;
    for (int64_t first = total * part / parts; first < stop; first += room) {
      const int64_t tiles = std::min(room, stop - first);
      transform_inputs<Form>(in, ins, first, tiles, from, v);
      for (int p = 0; p < POINTS; p++)
        multiply_panels<Form>(v + p * from.step(), from, tiles, u + p * step, m + p * to.step(),
                              to);
      const float *row = m, *offset = bias;
      for (int i = 0; i < outs; i++)
        for (int64_t block = 0; block < out[i].blocks; block++, row += room * LANES) {
          finish_tiles(row, to, first, tiles, offset, slope, mask, added, out[i], block);
          if (offset) offset += LANES;
        }
    }
  }
}

// Convolves the channels of all maps of `in` into those of `out`. With a bias, adds it and applies
// ReLU; without one, takes the result through the gradient of the ReLU that made the mask, if any.
// `added`, which may be a single `out` itself, is added at last. scratch: as scratch_size() says.
// With `half` the weights are as `transform_weights` then makes them, and products in bfloat16.
static void convolve(const Map* in, int ins, const float* u, const float* bias, float slope,
                     const Map* out, int outs, const Map* mask, float* scratch, int threads,
                     const Map* added = nullptr, bool half = false) {
  with_form(half, [&](auto form) {
    convolve_in<decltype(form)>(in, ins, u, bias, slope, out, outs, mask, scratch, threads, added);
  });
}

template <int vectors>
static void accumulate(const float* v, const float* m, int64_t tiles, int64_t out_step,
                       float* sums) {
  for (int row = 0; row < LANES; row += GRAD_ROWS) {
    float* place = sums + row * vectors * LANES;
    Vector sum[GRAD_ROWS][vectors];
    for (int i = 0; i < GRAD_ROWS; i++)
      for (int j = 0; j < vectors; j++) sum[i][j] = load(place + (i * vectors + j) * LANES);
    for (int64_t t = 0; t < tiles; t++) {
      Vector other[vectors];
      for (int j = 0; j < vectors; j++) other[j] = load(m + j * out_step + t * LANES);
      for (int i = 0; i < GRAD_ROWS; i++) {
        const float value = v[t * LANES + row + i];
        for (int j = 0; j < vectors; j++) sum[i][j] += other[j] * value;
      }
    }
    for (int i = 0; i < GRAD_ROWS; i++)
      for (int j = 0; j < vectors; j++) store(place + (i * vectors + j) * LANES, sum[i][j]);
  }
}

// Gradients of the weights (outputs, inputs, 3, 3) and the bias from the convolution's inputs
// and the gradient of its output before ReLU.
static void weight_gradient(const Map* in, int ins, const Map& grad, float* weight, float* bias,
                            float* scratch, int threads) {
  int64_t in_blocks = 0;
  for (int i = 0; i < ins; i++) in_blocks += in[i].blocks;
  const int64_t out_blocks = grad.blocks, inputs = in_blocks * LANES;
  const int64_t room = chunk_tiles(in_blocks, out_blocks);
  const Chunk from{room, in_blocks}, to{room, out_blocks};
  const int64_t total = grad.count * grad.tiles_y() * grad.tiles_x();
  const int64_t share = scratch_size(in_blocks, out_blocks, true);
  const int64_t step = in_blocks * out_blocks * LANES * LANES;
  const int64_t parts = std::min<int64_t>(threads, (total + FEW_ROWS - 1) / FEW_ROWS);
#pragma omp parallel for schedule(static, 1)
  for (int64_t part = 0; part < parts; part++) {
    float* sums = scratch + part * share;
    float *bias_sum = sums + POINTS * step, *v = bias_sum + Pool::rounded(out_blocks * LANES);
    float* m = v + Pool::rounded(from.size());
    std::memset(sums, 0, (v - sums) * sizeof(float));
    const int64_t stop = total * (part + 1) / parts;
    for (int64_t first = total * part / parts; first < stop; first += room) {
      const int64_t tiles = std::min(room, stop - first);
      transform_inputs(in, ins, first, tiles, from, v);
      for (int64_t t = 0; t < tiles; t++) {
        const Tile tile(grad, first + t);
        for (int64_t block = 0; block < out_blocks; block++) {
          const float* pixel = grad.at(tile.n, block, tile.y, tile.x);
          Vector y[4][4], product[6][6], sum = load(bias_sum + block * LANES);
          for (int k = 0; k < 16; k++) {
            y[k / 4][k % 4] = load(pixel + k / 4 * grad.stride() + k % 4 * LANES);
            sum += y[k / 4][k % 4];
          }
          store(bias_sum + block * LANES, sum);
          both_ways<4, 6, spread_output>(y, product);
          float* place = m + (block * room + t) * LANES;
          for (int p = 0; p < POINTS; p++) store(place + p * to.step(), product[p / 6][p % 6]);
        }
      }
      for (int p = 0; p < POINTS; p++)
        for_panels(out_blocks, [&](int64_t block, auto vectors) {
          for (int64_t k = 0; k < in_blocks; k++)
            accumulate<decltype(vectors)::value>(
                v + p * from.step() + k * room * LANES, m + p * to.step() + block * room * LANES,
                tiles, room * LANES,
                sums + p * step + weight_place(in_blocks, out_blocks, block, k * LANES));
        });
    }
  }
#pragma omp parallel for schedule(static)
  for (int64_t k = 0; k < inputs; k++)
    for (int64_t block = 0; block < out_blocks; block++) {
      const float* place = scratch + weight_place(in_blocks, out_blocks, block, k);
      Vector u[6][6], g[3][3];
      for (int p = 0; p < POINTS; p++) {
        u[p / 6][p % 6] = load(place + p * step);
        for (int64_t part = 1; part < parts; part++)
          u[p / 6][p % 6] += load(place + p * step + part * share);
      }
      both_ways<6, 3, gather_weight>(u, g);
      for (int tap = 0; tap < 9; tap++)
        for (int lane = 0; lane < LANES; lane++)
          weight[((block * LANES + lane) * inputs + k) * 9 + tap] = g[tap / 3][tap % 3][lane];
    }
  for (int64_t c = 0; c < out_blocks * LANES; c++) {
    float sum = 0;
    for (int64_t part = 0; part < parts; part++) sum += scratch[part * share + POINTS * step + c];
    bias[c] = sum;
  }
}

}  // namespace restore_winograd
