// Correlation and warping of feature maps (PWC-Net; Sun et al., CVPR 2018), with gradients. To be
// read after blocked.cc. Maps are (count, channels, height, width), contiguous.

namespace restore_motion {
using namespace restore_blocked;

constexpr int REACH = 4, SIDE = 2 * REACH + 1, SHIFTS = SIDE * SIDE;

struct Size {
  int64_t count, channels, height, width;
  int64_t plane() const { return height * width; }
};

// A map as (count, height, channels, stride): all channels of a row lie together, with at least
// REACH zeros before each row and REACH + LANES behind it.
struct Rows {
  int64_t channels, height, width, stride;
  float* data;

  Rows(const Size& s, float* place)
      : channels(s.channels), height(s.height), width(s.width),
        stride((s.width + LANES - 1) / LANES * LANES + 2 * REACH + LANES), data(place) {}
  // Floats of `count` images.
  int64_t size(int64_t count) const { return count * height * channels * stride; }
  // Pixel 0 of channel 0 of a row.
  float* at(int64_t n, int64_t y) const {
    return data + (n * height + y) * channels * stride + REACH;
  }
  // Zeros around the pixels of a row.
  void clear_ends(int64_t n, int64_t y) const {
    for (int64_t c = 0; c < channels; c++) {
      float* row = at(n, y) + c * stride;
      std::memset(row - REACH, 0, REACH * sizeof(float));
      std::memset(row + width, 0, (stride - REACH - width) * sizeof(float));
    }
  }
  // A row of planes (channels, height, width).
  void put(int64_t n, int64_t y, const float* planes) const {
    clear_ends(n, y);
    for (int64_t c = 0; c < channels; c++)
      std::memcpy(at(n, y) + c * stride, planes + (c * height + y) * width,
                  width * sizeof(float));
  }
};

// All of a map as rows, with memory of its own.
struct OwnRows : Rows {
  std::vector<float> memory;

  OwnRows(const Size& s, const float* map) : Rows(s, nullptr), memory(size(s.count)) {
    data = memory.data();
    #pragma omp parallel for
    for (int64_t row = 0; row < s.count * s.height; row++) {
      const int64_t n = row / s.height;
      put(n, row % s.height, map + n * channels * s.plane());
    }
  }
};

INLINE void put(float* to, Vector v, int64_t room) {
  if (room >= LANES) {
    store(to, v);
  } else {
    float kept[LANES];
    store(kept, v);
    std::memcpy(to, kept, room * sizeof(float));
  }
}

// A row of an image of `one` with the rows around it of an image of `two`: channel dy * SIDE + dx
// of the result, `step` floats from the one before, is the mean over channels of
// one[y][x] * two[y + dy - REACH][x + dx - REACH].
inline void correlate_row(const Rows& one, int64_t n_one, const Rows& two, int64_t n_two,
                          int64_t y, float* out, int64_t step) {
  const float share = 1.f / one.channels;
  for (int64_t dy = 0; dy < SIDE; dy++) {
    const int64_t other = y + dy - REACH;
    float* to = out + dy * SIDE * step;
    if (other < 0 || other >= one.height) {
      for (int64_t dx = 0; dx < SIDE; dx++)
        std::memset(to + dx * step, 0, one.width * sizeof(float));
      continue;
    }
    for (int64_t x = 0; x < one.width; x += LANES) {
      const float *a = one.at(n_one, y) + x, *b = two.at(n_two, other) + x - REACH;
      Vector sum[SIDE] = {};
      for (int64_t c = 0; c < one.channels; c++, a += one.stride, b += two.stride) {
        const Vector v = load(a);
        for (int dx = 0; dx < SIDE; dx++) sum[dx] += v * load(b + dx);
      }
      for (int dx = 0; dx < SIDE; dx++) put(to + dx * step + x, sum[dx] * share, one.width - x);
    }
  }
}

// The same for whole maps.
inline void correlate(const Size& s, const float* first, const float* second, float* out) {
  const OwnRows one(s, first), two(s, second);
  #pragma omp parallel for
  for (int64_t row = 0; row < s.count * s.height; row++) {
    const int64_t n = row / s.height, y = row % s.height;
    correlate_row(one, n, two, n, y, out + n * SHIFTS * s.plane() + y * s.width, s.plane());
  }
}

// Gradient of `correlate` with respect to `first` (`sign` 1, `other` is `second`) or to `second`
// (`sign` -1, `other` is `first`).
inline void correlate_gradient(const Size& s, const Rows& grad, const Rows& other, int sign,
                               float* out) {
  constexpr int64_t GROUP = 8;
  const float share = 1.f / s.channels;
  #pragma omp parallel for
  for (int64_t row = 0; row < s.count * s.height; row++) {
    const int64_t n = row / s.height, y = row % s.height;
    for (int64_t x = 0; x < s.width; x += LANES) {
      for (int64_t c = 0; c < s.channels; c += GROUP) {
        const int64_t group = std::min(GROUP, s.channels - c);
        Vector sum[GROUP] = {};
        for (int64_t dy = -REACH; dy <= REACH; dy++) {
          const int64_t from = y + sign * dy;
          if (from < 0 || from >= s.height) continue;
          const float* g = grad.at(n, sign > 0 ? y : from) + (dy + REACH) * SIDE * grad.stride;
          const float* values = other.at(n, from) + c * other.stride;
          for (int64_t dx = -REACH; dx <= REACH; dx++, g += grad.stride) {
            const Vector weight = load(g + x - (sign > 0 ? 0 : dx));
            const float* v = values + x + sign * dx;
            if (group == GROUP) {
              for (int i = 0; i < GROUP; i++) sum[i] += weight * load(v + i * other.stride);
            } else {
              for (int i = 0; i < group; i++) sum[i] += weight * load(v + i * other.stride);
            }
          }
        }
        for (int i = 0; i < group; i++)
          put(out + (n * s.channels + c + i) * s.plane() + y * s.width + x, sum[i] * share,
              s.width - x);
      }
    }
  }
}

inline void correlate_gradients(const Size& s, const float* grad, const float* first,
                                const float* second, float* to_first, float* to_second) {
  const OwnRows g({s.count, SHIFTS, s.height, s.width}, grad);
  correlate_gradient(s, g, OwnRows(s, second), 1, to_first);
  correlate_gradient(s, g, OwnRows(s, first), -1, to_second);
}

// A sample along one axis: pixels `base` and the next (the same one where there is but one), with
// their weights, the weights' derivatives, and how much weight lies inside.
struct Sample {
  int64_t base;
  float weight[2], slope[2], inside;
};

INLINE Sample sample(float position, int64_t size, bool border) {
  Sample s = {0, {0, 0}, {0, 0}, 0};
  const float last = size - 1;
  s.inside = std::max(0.f, std::min(1.f, std::min(position + 1, size - position)));
  float slope = 1;
  if (border) {
    if (position <= 0 || position >= last) slope = 0;
    position = std::max(0.f, std::min(position, last));
  } else {
    position = std::max(-2.f, std::min(position, last + 2));
  }
  const float low = std::floor(position), right = position - low;
  const int64_t pixel = (int64_t)low;
  s.base = std::max<int64_t>(0, std::min(pixel, size - 2));
  for (int side = 0; side < 2; side++) {  // what falls outside has no weight
    const int64_t place = pixel + side - s.base;
    if (place < 0 || place > 1 || s.base + place >= size) continue;
    s.weight[place] = side ? right : 1 - right;
    s.slope[place] = side ? slope : -slope;
  }
  return s;
}

// What is sampled and where to: maps that are windows of frames. Positions are pixels of the
// frame, the size of the flow is that of the result.
struct Warp {
  int64_t count, channels, rows, columns;  // of the result
  int64_t height, width, top, left;        // of the sampled map, and its place in the frame
  int64_t frame_height, frame_width, target_top, target_left;
  bool border;
  float valid;
  int64_t source() const { return height * width; }
  int64_t target() const { return rows * columns; }
  int64_t bands() const;
};

// The place of a pixel pair of the frame in a window; what a caller left out must not be read.
INLINE int64_t local(int64_t base, int64_t start, int64_t size) {
  return std::max<int64_t>(0, std::min(base - start, size - 2));
}

// The samples of a band of rows. Corners are numbered row by row.
constexpr int64_t BAND = 8;
inline int64_t Warp::bands() const { return (rows + BAND - 1) / BAND; }
struct Table {
  std::vector<int32_t> base;
  std::vector<float> weight[4], right[4], down[4];

  Table(const Warp& s, const float* flow, int64_t n, int64_t y0, int64_t y1, bool slopes)
      : base((y1 - y0) * s.columns) {
    for (int i = 0; i < 4; i++) {
      weight[i].resize(base.size());
      if (slopes) right[i].resize(base.size()), down[i].resize(base.size());
    }
    for (int64_t y = y0; y < y1; y++) {
      for (int64_t x = 0; x < s.columns; x++) {
        const float* f = flow + 2 * n * s.target() + y * s.columns + x;
        const Sample a = sample(s.target_left + x + f[0], s.frame_width, s.border);
        const Sample b = sample(s.target_top + y + f[s.target()], s.frame_height, s.border);
        const float mask = a.inside * b.inside >= s.valid;
        const int64_t p = (y - y0) * s.columns + x;
        base[p] = local(b.base, s.top, s.height) * s.width + local(a.base, s.left, s.width);
        for (int i = 0; i < 4; i++) {
          weight[i][p] = mask * b.weight[i / 2] * a.weight[i % 2];
          if (!slopes) continue;
          right[i][p] = mask * b.weight[i / 2] * a.slope[i % 2];
          down[i][p] = mask * b.slope[i / 2] * a.weight[i % 2];
        }
      }
    }
  }
};

struct Corners {
  int64_t offset[4];
  explicit Corners(const Warp& s) {
    const int64_t right = s.width > 1, down = s.height > 1 ? s.width : 0;
    const int64_t made[4] = {0, right, down, down + right};
    std::copy(made, made + 4, offset);
  }
};

inline void warp(const Warp& s, const float* x, const float* flow, float* out) {
  const Corners corners(s);
  const int64_t o1 = corners.offset[1], o2 = corners.offset[2], o3 = corners.offset[3];
  const int64_t bands = s.bands();
  #pragma omp parallel for
  for (int64_t task = 0; task < s.count * bands; task++) {
    const int64_t n = task / bands, y0 = task % bands * BAND, y1 = std::min(y0 + BAND, s.rows);
    const Table t(s, flow, n, y0, y1, false);
    const int64_t pixels = t.base.size();
    const int32_t* base = t.base.data();
    const float *w0 = t.weight[0].data(), *w1 = t.weight[1].data(), *w2 = t.weight[2].data(),
                *w3 = t.weight[3].data();
    for (int64_t c = 0; c < s.channels; c++) {
      const float* plane = x + (n * s.channels + c) * s.source();
      float* to = out + (n * s.channels + c) * s.target() + y0 * s.columns;
      for (int64_t p = 0; p < pixels; p++) {
        const float* v = plane + base[p];
        to[p] = w0[p] * v[0] + w1[p] * v[o1] + w2[p] * v[o2] + w3[p] * v[o3];
      }
    }
  }
}

inline void warp_gradients(const Warp& s, const float* grad, const float* x, const float* flow,
                           float* to_x, float* to_flow) {
  const Corners corners(s);
  const int64_t o1 = corners.offset[1], o2 = corners.offset[2], o3 = corners.offset[3];
  const int64_t bands = s.bands();
  #pragma omp parallel for
  for (int64_t task = 0; task < s.count * bands; task++) {
    const int64_t n = task / bands, y0 = task % bands * BAND, y1 = std::min(y0 + BAND, s.rows);
    const Table t(s, flow, n, y0, y1, true);
    const int64_t pixels = t.base.size();
    float* right = to_flow + 2 * n * s.target() + y0 * s.columns;
    float* down = right + s.target();
    std::memset(right, 0, pixels * sizeof(float));
    std::memset(down, 0, pixels * sizeof(float));
    for (int64_t c = 0; c < s.channels; c++) {
      const float* plane = x + (n * s.channels + c) * s.source();
      const float* g = grad + (n * s.channels + c) * s.target() + y0 * s.columns;
      for (int64_t p = 0; p < pixels; p++) {
        const float* v = plane + t.base[p];
        right[p] += g[p] * (t.right[0][p] * v[0] + t.right[1][p] * v[o1] + t.right[2][p] * v[o2]
                            + t.right[3][p] * v[o3]);
        down[p] += g[p] * (t.down[0][p] * v[0] + t.down[1][p] * v[o1] + t.down[2][p] * v[o2]
                           + t.down[3][p] * v[o3]);
      }
    }
  }
  // Samples meet anywhere in a plane, so a plane belongs to one thread.
  constexpr int64_t GROUP = 8;
  const int64_t groups = (s.channels + GROUP - 1) / GROUP;
  #pragma omp parallel for
  for (int64_t task = 0; task < s.count * groups; task++) {
    const int64_t n = task / groups, c0 = task % groups * GROUP,
                  c1 = std::min(c0 + GROUP, s.channels);
    std::memset(to_x + (n * s.channels + c0) * s.source(), 0,
                (c1 - c0) * s.source() * sizeof(float));
    for (int64_t y0 = 0; y0 < s.rows; y0 += BAND) {
      const int64_t y1 = std::min(y0 + BAND, s.rows);
      const Table t(s, flow, n, y0, y1, false);
      const int64_t pixels = t.base.size();
      for (int64_t c = c0; c < c1; c++) {
        float* plane = to_x + (n * s.channels + c) * s.source();
        const float* g = grad + (n * s.channels + c) * s.target() + y0 * s.columns;
        for (int64_t p = 0; p < pixels; p++) {
          float* v = plane + t.base[p];
          v[0] += g[p] * t.weight[0][p];
          v[o1] += g[p] * t.weight[1][p];
          v[o2] += g[p] * t.weight[2][p];
          v[o3] += g[p] * t.weight[3][p];
        }
      }
    }
  }
}
}  // namespace restore_motion
