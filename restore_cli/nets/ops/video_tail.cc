// The linear end of the video network, composed into one 5x5 convolution with other weights for
// the picture's outermost pixels, its pixel shuffle, and the frame enlarged bilinearly. The
// convolution is F(2x2, 5x5) on the points of winograd.cc: 36 products for the 100 of a tile.
// To be read after chain_team.cc.

namespace restore_video {

using namespace restore_chain;

constexpr int64_t TAPS = 5, BEYOND = 2;

// u = G g
INLINE void spread_taps(const Vector g[5], Vector u[6]) {
  const Vector even_p = NORM_P * (g[0] + P2 * (g[2] + P2 * g[4]));
  const Vector even_q = NORM_Q * (g[0] + Q2 * (g[2] + Q2 * g[4]));
  const Vector odd_p = (NORM_P * P) * (g[1] + P2 * g[3]);
  const Vector odd_q = (NORM_Q * Q) * (g[1] + Q2 * g[3]);
  u[0] = NORM_0 * g[0];
  u[1] = even_p + odd_p;
  u[2] = even_p - odd_p;
  u[3] = even_q + odd_q;
  u[4] = even_q - odd_q;
  u[5] = g[4];
}

// y = A^T m
INLINE void gather_pair(const Vector m[6], Vector y[2]) {
  y[0] = m[0] + (m[1] + m[2]) + (m[3] + m[4]);
  y[1] = P * (m[1] - m[2]) + Q * (m[3] - m[4]) + m[5];
}

// weight: (inputs, 5, 5, outputs), both multiples of GROUP.
static void transform_tail(const float* weight, int64_t inputs, int64_t outputs, float* to) {
  const int64_t in_blocks = inputs / LANES, out_blocks = outputs / LANES;
#pragma omp parallel for schedule(static)
  for (int64_t k = 0; k < inputs; k++)
    for (int64_t block = 0; block < out_blocks; block++) {
      Vector g[TAPS][TAPS], u[6][6];
      for (int tap = 0; tap < TAPS * TAPS; tap++)
        g[tap / TAPS][tap % TAPS] =
            load(weight + (k * TAPS * TAPS + tap) * outputs + block * LANES);
      both_ways<5, 6, spread_taps>(g, u);
      float* place = to + weight_place(in_blocks, out_blocks, block, k);
      for (int p = 0; p < POINTS; p++)
        store(place + p * inputs * outputs, u[p / 6][p % 6]);
    }
}

// Transforms of the tiles of 2x2 pixels from `first`, each 6x6 around it.
static void transform_pairs(const Map& in, int64_t first, int64_t tiles, const Chunk& chunk,
                            float* to) {
  const int64_t columns = (in.width + 1) / 2, rows = (in.height + 1) / 2, line = in.stride();
  const int64_t below = in.tiles_y() * 4, right = in.tiles_x() * 4;  // last pixels of the frame
  const int64_t step = chunk.step();
  for (int64_t block = 0; block < in.blocks; block++)
    for (int64_t t = 0; t < tiles; t++) {
      const int64_t index = first + t, n = index / (rows * columns);
      const int64_t top = index / columns % rows * 2 - BEYOND, left = index % columns * 2 - BEYOND;
      const float* from = in.at(n, block, top, left);
      Vector d[6][6], v[6][6];
      // Loops over squares are unrolled, or GCC keeps the squares in memory.
      if (top >= 0 && left >= 0 && top + 5 <= below && left + 5 <= right) {
#pragma GCC unroll 36
        for (int i = 0; i < 36; i++) d[i / 6][i % 6] = load(from + i / 6 * line + i % 6 * LANES);
      } else {
        for (int64_t y = 0; y < 6; y++)
          for (int64_t x = 0; x < 6; x++) {
            const bool known = top + y >= 0 && left + x >= 0 && top + y <= below &&
                               left + x <= right;
            d[y][x] = known ? load(from + y * line + x * LANES) : Vector{};
          }
      }
      both_ways<6, 6, spread_input>(d, v);
      float* place = to + (block * chunk.tiles + t) * LANES;
#pragma GCC unroll 36
      for (int p = 0; p < POINTS; p++) store(place + p * step, v[p / 6][p % 6]);
    }
}

// A thread's part of out = in * transformed weights u + bias. scratch: its own.
static void convolve_pairs(const Member& member, const Map& in, const float* u, const float* bias,
                           const Map& out, float* scratch) {
  const int64_t room = chunk_tiles(in.blocks, out.blocks);
  const Chunk from{room, in.blocks}, to{room, out.blocks};
  const int64_t columns = (in.width + 1) / 2, rows = (in.height + 1) / 2;
  const int64_t total = in.count * rows * columns, step = in.blocks * out.blocks * LANES * LANES;
  const int64_t m_step = to.step(), stop = member.end(total);
  float *v = scratch, *m = v + Pool::rounded(from.size());
  for (int64_t first = member.begin(total); first < stop; first += room) {
    const int64_t tiles = std::min(room, stop - first);
    transform_pairs(in, first, tiles, from, v);
    for (int p = 0; p < POINTS; p++)
      multiply_panels(v + p * from.step(), from, tiles, u + p * step, m + p * to.step(), to);
    for (int64_t block = 0; block < out.blocks; block++)
      for (int64_t t = 0; t < tiles; t++) {
        const int64_t index = first + t, n = index / (rows * columns);
        const int64_t y = index / columns % rows * 2, x = index % columns * 2;
        Vector product[6][6], made[2][2];
#pragma GCC unroll 36
        for (int p = 0; p < POINTS; p++)
          product[p / 6][p % 6] = load(m + p * m_step + (block * room + t) * LANES);
        both_ways<6, 2, gather_pair>(product, made);
        const Vector more = load(bias + block * LANES);
        for (int64_t a = 0; a < std::min<int64_t>(2, out.height - y); a++)
          for (int64_t b = 0; b < std::min<int64_t>(2, out.width - x); b++)
            store(out.at(n, block, y + a, x + b), made[a][b] + more);
      }
  }
}

// Where the picture ends at the sides of a map.
struct Ends {
  bool top, bottom, left, right;
};

// The convolutions of the outermost pixels: for each of the eight places around the inside, from
// the top left line by line, the taps that lie inside, (taps, inputs, outputs); biases likewise.
struct Rim {
  const float *weights, *biases;
};

// Which taps a place sees along one axis.
INLINE int64_t first_tap(int side) { return side < 0 ? BEYOND : 0; }
INLINE int64_t last_tap(int side) { return side > 0 ? BEYOND : TAPS - 1; }

// Replaces a pixel of `out`; `vectors` of its blocks from the first one.
template <int vectors>
static void convolve_pixel(const Map& in, int64_t n, int64_t y, int64_t x, int row, int column,
                           const float* weight, const float* bias, const Map& out,
                           int64_t first) {
  const int64_t outputs = out.blocks * LANES, inputs = in.blocks * LANES;
  Vector sum[2][vectors] = {};
  for (int i = 0; i < vectors; i++) sum[0][i] = load(bias + (first + i) * LANES);
  for (int64_t a = first_tap(row); a <= last_tap(row); a++)
    for (int64_t b = first_tap(column); b <= last_tap(column); b++, weight += inputs * outputs) {
      const int64_t ya = y + a - BEYOND, xb = x + b - BEYOND;
      if (ya < 0 || xb < 0 || ya >= in.height || xb >= in.width) continue;
      const float* each = weight + first * LANES;
      for (int64_t block = 0; block < in.blocks; block++) {
        const float* value = in.at(n, block, ya, xb);
        for (int lane = 0; lane < LANES; lane += 2)
          for (int k = 0; k < 2; k++, each += outputs)
            for (int i = 0; i < vectors; i++)
              sum[k][i] += load(each + i * LANES) * value[lane + k];
      }
    }
  for (int i = 0; i < vectors; i++)
    store(out.at(n, first + i, y, x), sum[0][i] + sum[1][i]);
}

static void convolve_rim(const Member& member, const Map& in, const Rim& rim, const Ends& ends,
                         const Map& out) {
  const int64_t inputs = in.blocks * LANES, outputs = out.blocks * LANES;
  const float *weights[3][3], *biases[3][3], *weight = rim.weights, *bias = rim.biases;
  for (int row = -1; row <= 1; row++)
    for (int column = -1; column <= 1; column++) {
      weights[row + 1][column + 1] = weight;
      biases[row + 1][column + 1] = bias;
      if (!row && !column) continue;
      weight += (last_tap(row) - first_tap(row) + 1) * (last_tap(column) - first_tap(column) + 1) *
                inputs * outputs;
      bias += outputs;
    }
  const int64_t around = 2 * (in.width + in.height - 2);
  member.share(in.count * around, [&](int64_t i) {
    const int64_t n = i / around, at = i % around, down = at - 2 * in.width;
    const int64_t y = down < 0 ? (at < in.width ? 0 : in.height - 1) : 1 + down / 2;
    const int64_t x = down < 0 ? at % in.width : (down % 2 ? in.width - 1 : 0);
    const int row = ends.top && y == 0 ? -1 : ends.bottom && y == in.height - 1;
    const int column = ends.left && x == 0 ? -1 : ends.right && x == in.width - 1;
    if (!row && !column) return;
    for_panels(out.blocks, [&](int64_t block, auto vectors) {
      convolve_pixel<decltype(vectors)::value>(in, n, y, x, row, column,
                                               weights[row + 1][column + 1],
                                               biases[row + 1][column + 1], out, block);
    });
  });
}

// The pixel shuffle of (colours scale scale) channels to planes (colours, scale H, scale W), plus
// the frame, (count, colours, H, W), enlarged bilinearly about the pixels' centres.
static void shuffle(const Member& member, const Map& from, int64_t colours, int64_t scale,
                    const float* frame, float* line, float* out) {
  const int64_t height = from.height, width = from.width;
  member.share(from.count * colours * height, [&](int64_t row) {
    const int64_t n = row / (colours * height), c = row / height % colours, y = row % height;
    const float* plane = frame + (n * colours + c) * height * width;
    for (int64_t i = 0; i < scale; i++) {
      // A new pixel lies this far behind the old one in whose place it is.
      const float dy = (i + 0.5f) / scale - 0.5f, down = std::abs(dy);
      const int64_t other = std::max<int64_t>(0, std::min(height - 1, y + (dy < 0 ? -1 : 1)));
      for (int64_t x = 0; x < width; x++)
        line[x + 1] = (1 - down) * plane[y * width + x] + down * plane[other * width + x];
      line[0] = line[1];
      line[width + 1] = line[width];
      float* to = out + ((n * colours + c) * height * scale + y * scale + i) * width * scale;
      for (int64_t j = 0; j < scale; j++) {
        const int64_t channel = (c * scale + i) * scale + j;
        const float* pixel = from.at(n, channel / LANES, y, 0) + channel % LANES;
        const float dx = (j + 0.5f) / scale - 0.5f, right = std::abs(dx);
        const float* beside = line + 1 + (dx < 0 ? -1 : 1);
        for (int64_t x = 0; x < width; x++)
          to[x * scale + j] = pixel[x * LANES] + (1 - right) * line[x + 1] + right * beside[x];
      }
    }
  });
}

// The enlarged picture from what the residual blocks lead to, (count, inputs, height, width), and
// the frame. u, bias: of the inside; sides of at least 4.
static void enlarge_picture(const float* x, int64_t count, int64_t inputs, int64_t height,
                            int64_t width, const float* u, const float* bias, const Rim& rim,
                            const Ends& ends, const float* frame, int64_t colours, int64_t scale,
                            float* out) {
  Arena arena;
  const Map in = arena.bare(count, blocks_of(inputs), height, width);
  const Map made = arena.bare(count, blocks_of(colours * scale * scale), height, width);
  const int threads = available_threads();
  const int64_t share = scratch_size(in.blocks, made.blocks, false);
  float *scratch = arena.floats(threads * share), *lines = arena.floats(threads * (width + 2));
  together(threads, [&](const Member& member) {
    member.clear_frame(in);
    fill_part(member, in, x, inputs);
    member.wait();
    convolve_pairs(member, in, u, bias, made, scratch + member.me * share);
    member.wait();
    convolve_rim(member, in, rim, ends, made);
    member.wait();
    shuffle(member, made, colours, scale, frame, lines + member.me * (width + 2), out);
  });
}

}  // namespace restore_video
