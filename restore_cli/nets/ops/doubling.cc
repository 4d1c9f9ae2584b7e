// Transposed 3x3 convolutions of stride 2, which double the sides: padding 1, output padding 1.
// Of a line, the even outputs are y[2i] = w[1] x[i] and the odd ones y[2i + 1] = w[2] x[i] +
// w[0] x[i + 1]. For the latter Winograd's algorithm F(4, 2) takes 5 products for 4 outputs; the
// former stay as they are. So a square of 4x4 inputs takes 9x9 products, with 6x6 different
// weights, for its 8x8 outputs; as four ordinary convolutions it would take 144.
// To be read after team.cc.

namespace restore_winograd {

// The interpolation points are S, -S, T, -T and infinity.
constexpr float S = 0.5f, T = 1.25f, S2 = S * S, T2 = T * T;
constexpr float NORM_S = 1 / (2 * S * (S2 - T2)), NORM_T = 1 / (2 * T * (T2 - S2));

INLINE void spread_odd(const Vector d[5], Vector t[5]) {
  const Vector even_s = d[3] - T2 * d[1], odd_s = S * (d[2] - T2 * d[0]);
  const Vector even_t = d[3] - S2 * d[1], odd_t = T * (d[2] - S2 * d[0]);
  t[0] = even_s + odd_s;
  t[1] = even_s - odd_s;
  t[2] = even_t + odd_t;
  t[3] = even_t - odd_t;
  t[4] = d[4] - (S2 + T2) * d[2] + (S2 * T2) * d[0];
}

INLINE void gather_odd(const Vector m[5], Vector y[4]) {
  const Vector sum_s = m[0] + m[1], diff_s = m[0] - m[1];
  const Vector sum_t = m[2] + m[3], diff_t = m[2] - m[3];
  y[0] = sum_s + sum_t;
  y[1] = S * diff_s + T * diff_t;
  y[2] = S2 * sum_s + T2 * sum_t;
  y[3] = (S * S2) * diff_s + (T * T2) * diff_t + m[4];
}

// Four inputs and one beyond -> four for the even outputs, five for the odd ones.
INLINE void spread_small(const Vector d[5], Vector t[9]) {
  for (int i = 0; i < 4; i++) t[i] = d[i];
  spread_odd(d, t + 4);
}

INLINE void gather_large(const Vector m[9], Vector y[8]) {
  Vector odd[4];
  gather_odd(m + 4, odd);
  for (int i = 0; i < 4; i++) {
    y[2 * i] = m[i];
    y[2 * i + 1] = odd[i];
  }
}

// The same for the gradient: from that of one output before, and of the eight, to four inputs'.
INLINE void spread_large(const Vector d[9], Vector t[9]) {
  const Vector odd[] = {d[0], d[2], d[4], d[6], d[8]};
  for (int i = 0; i < 4; i++) t[i] = d[2 * i + 1];
  spread_odd(odd, t + 4);
}

INLINE void gather_small(const Vector m[9], Vector y[4]) {
  gather_odd(m + 4, y);
  for (int i = 0; i < 4; i++) y[i] += m[i];
}

// The transpose of `gather_large`.
INLINE void spread_large_output(const Vector y[8], Vector m[9]) {
  const Vector even_s = y[1] + S2 * y[5], odd_s = S * (y[3] + S2 * y[7]);
  const Vector even_t = y[1] + T2 * y[5], odd_t = T * (y[3] + T2 * y[7]);
  for (int i = 0; i < 4; i++) m[i] = y[2 * i];
  m[4] = even_s + odd_s;
  m[5] = even_s - odd_s;
  m[6] = even_t + odd_t;
  m[7] = even_t - odd_t;
  m[8] = y[7];
}

// The kernel turned is that of the gradient.
INLINE void spread_doubled_weight(const Vector g[3], Vector u[6]) {
  const Vector even_s = NORM_S * g[2], odd_s = (NORM_S * S) * g[0];
  const Vector even_t = NORM_T * g[2], odd_t = (NORM_T * T) * g[0];
  u[0] = g[1];
  u[1] = odd_s + even_s;
  u[2] = odd_s - even_s;
  u[3] = odd_t + even_t;
  u[4] = odd_t - even_t;
  u[5] = g[0];
}

INLINE void gather_doubled_weight(const Vector u[6], Vector g[3]) {
  g[0] = (NORM_S * S) * (u[1] + u[2]) + (NORM_T * T) * (u[3] + u[4]) + u[5];
  g[1] = u[0];
  g[2] = NORM_S * (u[1] - u[2]) + NORM_T * (u[3] - u[4]);
}

// A square of a map; beyond the map's frame are zeros.
template <int SIDE>
INLINE void load_square(const Map& from, int64_t n, int64_t block, int64_t y, int64_t x,
                        Vector (&to)[SIDE][SIDE]) {
  if (y + SIDE <= from.height + 1 && x + SIDE <= from.width + 1) {
    const float* corner = from.at(n, block, y, x);
    const int64_t line = from.stride();
    constexpr int NEXT = SIDE / 4 * 4;  // pixels from one square to the next
    for (int a = 0; a < SIDE; a++)
      for (int b = SIDE + NEXT; b < SIDE + 2 * NEXT; b++)
        __builtin_prefetch(corner + a * line + b * LANES);
#pragma GCC unroll 9
    for (int a = 0; a < SIDE; a++)
#pragma GCC unroll 9
      for (int b = 0; b < SIDE; b++) to[a][b] = load(corner + a * line + b * LANES);
    return;
  }
  const Vector zero = {};
  for (int a = 0; a < SIDE; a++)
    for (int b = 0; b < SIDE; b++)
      to[a][b] = y + a <= from.height && x + b <= from.width
                     ? load(from.at(n, block, y + a, x + b)) : zero;
}

// From the small map to the large one, and from the gradient of that to the other's.
struct Doubling {
  static constexpr int IN = 5, OUT = 8, READ = 1, WRITE = 2, BEFORE = 0;
  static INLINE void spread(const Vector (&d)[5][5], Vector (&v)[9][9]) {
    both_ways<5, 9, spread_small>(d, v);
  }
  static INLINE void gather(const Vector (&m)[9][9], Vector (&y)[8][8]) {
    both_ways<9, 8, gather_large>(m, y);
  }
};
struct Halving {
  static constexpr int IN = 9, OUT = 4, READ = 2, WRITE = 1, BEFORE = 1;
  static INLINE void spread(const Vector (&d)[9][9], Vector (&v)[9][9]) {
    both_ways<9, 9, spread_large>(d, v);
  }
  static INLINE void gather(const Vector (&m)[9][9], Vector (&y)[4][4]) {
    both_ways<9, 4, gather_small>(m, y);
  }
};

constexpr int DOUBLED_POINTS = 81;

inline int64_t doubled_tiles(int64_t in_blocks, int64_t out_blocks) {
  const int64_t fitting = 2 * CHUNK_FLOATS / (DOUBLED_POINTS * LANES * (in_blocks + out_blocks));
  return std::min<int64_t>(8 * ROWS, std::max<int64_t>(ROWS, fitting / ROWS * ROWS));
}

// Floats that a pass needs for each thread.
inline int64_t doubled_scratch_size(int64_t in_blocks, int64_t out_blocks) {
  const int64_t tiles = doubled_tiles(in_blocks, out_blocks);
  return Pool::rounded(DOUBLED_POINTS * Chunk{tiles, in_blocks}.step()) +
         Pool::rounded(DOUBLED_POINTS * Chunk{tiles, out_blocks}.step());
}

// Points of a side that have weight `i` of a side's six.
INLINE int first_point(int i) { return i ? i + 3 : 0; }
INLINE int last_point(int i) { return i + 3; }

// A member's part. `small` tells the tiles; `finish(n, block, y, x, values)` gets the results.
template <class Way, class Form, class Finish>
static void doubled_part(const Member& member, const Map& small, const Map& in,
                         int64_t out_blocks, const float* u, float* scratch, Finish finish) {
  const int64_t room = doubled_tiles(in.blocks, out_blocks);
  const Chunk from{room, in.blocks, Form::WORDS}, to{room, out_blocks};
  const int64_t step = in.blocks * out_blocks * Form::WORDS * LANES;
  const int64_t v_step = from.step(), m_step = to.step();
  const Part part(member, small.count * small.tiles_y() * small.tiles_x(), out_blocks);
  float *v = scratch, *m = v + Pool::rounded(DOUBLED_POINTS * Chunk{room, in.blocks}.step());
  for (int64_t first = part.first; first < part.stop; first += room) {
    const int64_t tiles = std::min(room, part.stop - first);
    for (int64_t block = 0; block < in.blocks; block++)
      for (int64_t t = 0; t < tiles; t++) {
        const Tile tile(small, first + t);
        Vector d[Way::IN][Way::IN], made[9][9];
        load_square(in, tile.n, block, Way::READ * tile.y - Way::BEFORE,
                    Way::READ * tile.x - Way::BEFORE, d);
        Way::spread(d, made);
        float* place = v + (block * room + t) * Form::WORDS;
#pragma GCC unroll 81
        for (int p = 0; p < DOUBLED_POINTS; p++)
          Form::put(place + p * v_step, made[p / 9][p % 9]);
      }
    for (int w = 0; w < POINTS; w++)
      for (int y = first_point(w / 6); y <= last_point(w / 6); y++)
        for (int x = first_point(w % 6); x <= last_point(w % 6); x++) {
          const int p = 9 * y + x;
          multiply_part<Form>(part, v + p * from.step(), from, tiles, u + w * step,
                              m + p * to.step(), to);
        }
    for (int64_t block = part.block; block < part.end; block++)
      for (int64_t t = 0; t < tiles; t++) {
        const Tile tile(small, first + t);
        const float* place = m + (block * room + t) * LANES;
        Vector product[9][9], made[Way::OUT][Way::OUT];
#pragma GCC unroll 81
        for (int p = 0; p < DOUBLED_POINTS; p++)
          product[p / 9][p % 9] = load(place + p * m_step);
        Way::gather(product, made);
        finish(tile.n, block, Way::WRITE * tile.y, Way::WRITE * tile.x, made);
      }
  }
}

// A member's part, without activation. u: transformed weights, panels as `transform_weights`
// orders them; scratch: the member's own.
template <class Form>
static void doubled_convolve(const Member& member, const Map& in, const float* u,
                             const float* bias, const Map& out, float* scratch) {
  doubled_part<Doubling, Form>(
      member, in, in, out.blocks, u, scratch,
      [&](int64_t n, int64_t block, int64_t y, int64_t x, const Vector (&made)[8][8]) {
    const Vector more = load(bias + block * LANES);
    const int64_t rows = std::min<int64_t>(8, out.height - y);
    const int64_t columns = std::min<int64_t>(8, out.width - x);
    for (int64_t a = 0; a < rows; a++)
      for (int64_t b = 0; b < columns; b++)
        store(out.at(n, block, y + a, x + b), made[a][b] + more);
  });
}

// The gradient of `in`, before the activation that made it; `grad` may be `added` itself.
static void doubled_gradient(const Member& member, const Map& out_grad, const float* u,
                             const Map& in, float slope, const Map* added, const Map& grad,
                             float* scratch) {
  doubled_part<Halving, Single>(
      member, grad, out_grad, grad.blocks, u, scratch,
      [&](int64_t n, int64_t block, int64_t y, int64_t x, const Vector (&made)[4][4]) {
    const int64_t rows = std::min<int64_t>(4, grad.height - y);
    const int64_t columns = std::min<int64_t>(4, grad.width - x);
    for (int64_t a = 0; a < rows; a++)
      for (int64_t b = 0; b < columns; b++) {
        Vector value = rectify_gradient(load(in.at(n, block, y + a, x + b)), made[a][b], slope);
        if (added) value += load(added->at(n, block, y + a, x + b));
        store(grad.at(n, block, y + a, x + b), value);
      }
  });
}

}  // namespace restore_winograd
