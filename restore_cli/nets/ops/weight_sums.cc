// Gradients of weights, as sums of products of transforms, which are transformed back once, also
// where a layer is used several times. To be read after doubling.cc.

namespace restore_winograd {

constexpr int64_t BATCH_FLOATS = 1 << 20;  // of the transforms that are multiplied together

// Convolutions.
struct Plain {
  static constexpr int SIDE = 6;  // transforms of a side of a tile
  static int first(int i) { return i; }  // those that belong to weight `i` of a side's six
  static int last(int i) { return i; }
  static const Map& tiled(const Map& in, const Map& grad) { return grad; }
  static INLINE void spread(const Map& in, const Tile& tile, int64_t block, Vector (&v)[6][6]) {
    spread_tile(in.at(tile.n, block, tile.y - 1, tile.x - 1), in.stride(), v);
  }
  static INLINE Vector spread_grad(const Map& grad, const Tile& tile, int64_t block,
                                   Vector (&m)[6][6]) {
    const float* from = grad.at(tile.n, block, tile.y, tile.x);
    const int64_t line = grad.stride();
    Vector d[4][4], sum = {};
    for (int y = 0; y < 4; y++)
      for (int x = 8; x < 12; x++) __builtin_prefetch(from + y * line + x * LANES);
#pragma GCC unroll 4
    for (int y = 0; y < 4; y++)
#pragma GCC unroll 4
      for (int x = 0; x < 4; x++) sum += d[y][x] = load(from + y * line + x * LANES);
    both_ways<4, 6, spread_output>(d, m);
    return sum;
  }
  static INLINE void gather(const Vector (&u)[6][6], Vector (&g)[3][3]) {
    both_ways<6, 3, gather_weight>(u, g);
  }
};

// Transposed ones that double the sides.
struct Doubled {
  static constexpr int SIDE = 9;
  static int first(int i) { return first_point(i); }
  static int last(int i) { return last_point(i); }
  static const Map& tiled(const Map& in, const Map& grad) { return in; }
  static INLINE void spread(const Map& in, const Tile& tile, int64_t block, Vector (&v)[9][9]) {
    Vector d[5][5];
    load_square(in, tile.n, block, tile.y, tile.x, d);
    both_ways<5, 9, spread_small>(d, v);
  }
  static INLINE Vector spread_grad(const Map& grad, const Tile& tile, int64_t block,
                                   Vector (&m)[9][9]) {
    Vector y[8][8], sum = {};
    load_square(grad, tile.n, block, 2 * tile.y, 2 * tile.x, y);
    for (int k = 0; k < 64; k++) sum += y[k / 8][k % 8];
    both_ways<8, 9, spread_large_output>(y, m);
    return sum;
  }
  static INLINE void gather(const Vector (&u)[6][6], Vector (&g)[3][3]) {
    both_ways<6, 3, gather_doubled_weight>(u, g);
  }
};

inline int64_t batch_tiles(int points, int64_t in_blocks, int64_t out_blocks) {
  return std::max<int64_t>(ROWS, BATCH_FLOATS / (points * LANES * (in_blocks + out_blocks)));
}

// Floats that `add_shared_gradient` needs beside the sums.
inline int64_t batch_size(int points, int64_t in_blocks, int64_t out_blocks, int threads) {
  const int64_t tiles = batch_tiles(points, in_blocks, out_blocks);
  return Pool::rounded(points * Chunk{tiles, in_blocks}.step()) +
         Pool::rounded(points * Chunk{tiles, out_blocks}.step()) + threads * out_blocks * LANES;
}

// Adds to LANES rows of sums, or begins them: those of one weight, of all its points.
template <class Shape, int vectors>
static void accumulate_points(const float* v, int64_t v_step, const float* m, int64_t m_step,
                              int64_t m_block, int64_t tiles, int weight, bool fresh,
                              float* sums) {
  for (int row = 0; row < LANES; row += GRAD_ROWS) {
    float* place = sums + row * vectors * LANES;
    Vector sum[GRAD_ROWS][vectors] = {};
    if (!fresh)
      for (int i = 0; i < GRAD_ROWS; i++)
        for (int j = 0; j < vectors; j++) sum[i][j] = load(place + (i * vectors + j) * LANES);
    for (int y = Shape::first(weight / 6); y <= Shape::last(weight / 6); y++)
      for (int x = Shape::first(weight % 6); x <= Shape::last(weight % 6); x++) {
        const int64_t point = y * Shape::SIDE + x;
        const float *left = v + point * v_step + row, *right = m + point * m_step;
        for (int64_t t = 0; t < tiles; t++, left += LANES, right += LANES) {
          Vector other[vectors];
          for (int j = 0; j < vectors; j++) other[j] = load(right + j * m_block);
          for (int i = 0; i < GRAD_ROWS; i++) {
            const float value = left[i];
            for (int j = 0; j < vectors; j++) sum[i][j] += other[j] * value;
          }
        }
      }
    for (int i = 0; i < GRAD_ROWS; i++)
      for (int j = 0; j < vectors; j++) store(place + (i * vectors + j) * LANES, sum[i][j]);
  }
}

// Some tiles of a layer's input and of the gradient of its output, as transforms.
template <class Shape>
struct Batch {
  static constexpr int SIDE = Shape::SIDE, ALL = SIDE * SIDE;
  const Map *in, &grad, &tiled;
  const int ins;
  const int64_t in_blocks, out_blocks, room, v_step, m_step, step, units;
  float *v, *m, *end;

  Batch(const Map* given, int maps, int64_t blocks, const Map& gradient, int64_t tiles, float* to)
      : in(given), grad(gradient), tiled(Shape::tiled(given[0], gradient)), ins(maps),
        in_blocks(blocks), out_blocks(gradient.blocks), room(tiles),
        v_step(Chunk{tiles, in_blocks}.step()), m_step(Chunk{tiles, out_blocks}.step()),
        step(in_blocks * out_blocks * LANES * LANES),
        units(POINTS * ((out_blocks + VECTORS - 1) / VECTORS) * in_blocks), v(to),
        m(v + Pool::rounded(ALL * v_step)), end(m + Pool::rounded(ALL * m_step)) {}
  int64_t total() const { return tiled.count * tiled.tiles_y() * tiled.tiles_x(); }

  // Those from `begin` to `end`, counted from tile `first`; adds the gradient to `bias`.
  void spread(int64_t first, int64_t begin, int64_t end, float* bias) const {
    float* row = v;
    for (int i = 0; i < ins; i++)
      for (int64_t block = 0; block < in[i].blocks; block++, row += room * LANES)
        for (int64_t t = begin; t < end; t++) {
          Vector made[SIDE][SIDE];
          Shape::spread(in[i], Tile(tiled, first + t), block, made);
          float* place = row + t * LANES;
#pragma GCC unroll 81
          for (int p = 0; p < ALL; p++) store(place + p * v_step, made[p / SIDE][p % SIDE]);
        }
    for (int64_t block = 0; block < out_blocks; block++) {
      Vector sum = load(bias + block * LANES);
      for (int64_t t = begin; t < end; t++) {
        Vector made[SIDE][SIDE];
        sum += Shape::spread_grad(grad, Tile(tiled, first + t), block, made);
        float* place = m + (block * room + t) * LANES;
#pragma GCC unroll 81
        for (int p = 0; p < ALL; p++) store(place + p * m_step, made[p / SIDE][p % SIDE]);
      }
      store(bias + block * LANES, sum);
    }
  }

  // Adds the products of one weight, block of inputs and panel of outputs, or begins their sums.
  void accumulate(int64_t unit, int64_t tiles, bool begins, float* sums) const {
    const int64_t k = unit % in_blocks, panels = (out_blocks + VECTORS - 1) / VECTORS;
    const int64_t block = unit / in_blocks % panels * VECTORS;
    const int weight = (int)(unit / in_blocks / panels);
    auto add = [&](auto vectors, int64_t one) {
      accumulate_points<Shape, decltype(vectors)::value>(
          v + k * room * LANES, v_step, m + one * room * LANES, m_step, room * LANES, tiles,
          weight, begins,
          sums + weight * step + weight_place(in_blocks, out_blocks, one, k * LANES));
    };
    if (block + VECTORS <= out_blocks)
      add(std::integral_constant<int, VECTORS>(), block);
    else
      for (int64_t one = block; one < out_blocks; one++)
        add(std::integral_constant<int, 1>(), one);
  }
};

// Where all sums of a layer fit the cache of one processor, each thread has its own, and all that
// it does for them stays there.
inline bool has_own_sums(int64_t in_blocks, int64_t out_blocks) {
  return in_blocks * out_blocks * LANES * LANES <= 28 * 256;
}
inline int64_t own_tiles(int points, int64_t in_blocks, int64_t out_blocks) {
  return std::max<int64_t>(ROWS, CHUNK_FLOATS / (points * LANES * (in_blocks + out_blocks)));
}
inline int64_t own_batch_size(int points, int64_t in_blocks, int64_t out_blocks) {
  const int64_t tiles = own_tiles(points, in_blocks, out_blocks);
  return Pool::rounded(points * Chunk{tiles, in_blocks}.step()) +
         Pool::rounded(points * Chunk{tiles, out_blocks}.step());
}

// A member's tiles: adds the gradients of a layer's transformed weights to its own `sums`,
// weights_size() of them, and those of the bias to its own `bias`; or begins both. grad: of the
// layer's output, before the activation; scratch: its own, own_batch_size() floats.
template <class Shape>
static void add_own_gradient(const Member& member, const Map* in, int ins, int64_t in_blocks,
                             const Map& grad, bool fresh, float* sums, float* bias,
                             float* scratch) {
  constexpr int ALL = Shape::SIDE * Shape::SIDE;
  const Batch<Shape> batch(in, ins, in_blocks, grad, own_tiles(ALL, in_blocks, grad.blocks),
                           scratch);
  const int64_t stop = member.end(batch.total());
  if (fresh) {
    std::memset(sums, 0, POINTS * batch.step * sizeof(float));
    std::memset(bias, 0, grad.blocks * LANES * sizeof(float));
  }
  for (int64_t first = member.begin(batch.total()); first < stop; first += batch.room) {
    const int64_t tiles = std::min(batch.room, stop - first);
    batch.spread(first, 0, tiles, bias);
    for (int64_t unit = 0; unit < batch.units; unit++)
      batch.accumulate(unit, tiles, false, sums);
  }
}

// The same with sums for all, which have all been added to at the end. scratch: for all,
// batch_size() floats.
template <class Shape>
static void add_shared_gradient(const Member& member, const Map* in, int ins, int64_t in_blocks,
                                const Map& grad, bool fresh, float* sums, float* bias,
                                float* scratch) {
  constexpr int ALL = Shape::SIDE * Shape::SIDE;
  const Batch<Shape> batch(in, ins, in_blocks, grad, batch_tiles(ALL, in_blocks, grad.blocks),
                           scratch);
  const int64_t total = batch.total(), channels = grad.blocks * LANES;
  float* bias_sums = batch.end;
  for (int64_t first = 0; first < total; first += batch.room) {
    const int64_t tiles = std::min(batch.room, total - first);
    float* own = bias_sums + member.me * channels;
    std::memset(own, 0, channels * sizeof(float));
    batch.spread(first, member.begin(tiles), member.end(tiles), own);
    member.wait();
    const bool begins = fresh && first == 0;
    for (int64_t c = 0; member.me == 0 && c < channels; c++) {
      float sum = begins ? 0 : bias[c];
      for (int part = 0; part < member.all; part++) sum += bias_sums[part * channels + c];
      bias[c] = sum;
    }
    for (int64_t unit = member.me; unit < batch.units; unit += member.all)
      batch.accumulate(unit, tiles, begins, sums);
    member.wait();
  }
}

// A member's part: calls put(output, input, tap, value) for the gradients of weights.
// parts: of the sums, which lie one after the other.
template <class Shape, class Put>
static void put_weight_gradient(const Member& member, const float* sums, int parts,
                                int64_t inputs, int64_t outputs, Put put) {
  const int64_t in_blocks = inputs / LANES, out_blocks = outputs / LANES;
  const int64_t step = inputs * outputs;
  member.share(inputs, [&](int64_t k) {
    for (int64_t block = 0; block < out_blocks; block++) {
      const float* place = sums + weight_place(in_blocks, out_blocks, block, k);
      Vector u[6][6], g[3][3];
      for (int p = 0; p < POINTS; p++) u[p / 6][p % 6] = load(place + p * step);
      for (int part = 1; part < parts; part++)
        for (int p = 0; p < POINTS; p++)
          u[p / 6][p % 6] += load(place + (part * POINTS + p) * step);
      Shape::gather(u, g);
      for (int lane = 0; lane < LANES; lane++)
        for (int tap = 0; tap < 9; tap++)
          put(block * LANES + lane, k, tap, g[tap / 3][tap % 3][lane]);
    }
  });
}

}  // namespace restore_winograd
