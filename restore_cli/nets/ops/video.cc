// What the video network does without gradients, with all maps in one layout between its layers:
// chains of residual blocks, and PWC-Net's decoders and refiner (Sun et al., CVPR 2018).
// To be read after winograd.cc and motion.cc.

namespace restore_video {

using namespace restore_winograd;

constexpr int64_t GROUP = 16;  // channels are padded to multiples of this, as Python packs weights

inline int64_t blocks_of(int64_t channels) {
  return (channels + GROUP - 1) / GROUP * GROUP / LANES;
}

// Transformed weights begin on a cache line; how far in the buffer is noted in front of them.
static float* noted(float* buffer) {
  int64_t distance = 1;
  while ((uintptr_t)(buffer + distance) % 64) distance++;
  buffer[0] = (float)distance;
  return buffer + distance;
}

// Memory of one call.
class Arena {
  std::vector<void*> made;

 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  ~Arena() { clear(); }
  void clear() {
    for (void* each : made) std::free(each);
    made.clear();
  }
  float* floats(int64_t count) {
    void* p = nullptr;
    if (posix_memalign(&p, 64, std::max<int64_t>(count, 1) * sizeof(float)))
      throw std::bad_alloc();
    made.push_back(p);
    return (float*)p;
  }
  // Its frame is zero, its pixels are not set.
  Map map(int64_t count, int64_t blocks, int64_t height, int64_t width) {
    Map m;
    m.count = count;
    m.blocks = blocks;
    m.height = height;
    m.width = width;
    m.data = floats(m.size());
    m.clear_frame();
    return m;
  }
};

// Layers one after the other, as they were packed.
struct Weights {
  const float *u, *bias;
  int threads;
  float* scratch = nullptr;
  int64_t room = 0;

  Weights(const float* packed, const float* biases)
      : u(packed + (int64_t)packed[0]), bias(biases), threads(available_threads()) {}

  // out = rectified (in * next layer) + added. Scratch memory must be the arena's.
  void next(Arena& arena, const std::vector<Map>& in, const Map& out, float slope,
            const Map* added = nullptr) {
    int64_t blocks = 0;
    for (const Map& each : in) blocks += each.blocks;
    const int64_t need = threads * scratch_size(blocks, out.blocks, false);
    if (need > room) scratch = arena.floats(room = need);
    convolve(in.data(), (int)in.size(), u, bias, slope, &out, 1, nullptr, scratch, threads,
             added);
    u += weights_size(blocks, out.blocks);
    bias += out.blocks * LANES;
  }
};

// Planes (height, width) of one image to a map's image n, and back. Channels beyond are zero.
static void fill(const Map& to, int64_t n, const float* planes, int64_t channels) {
  const int64_t area = to.height * to.width, rows = to.blocks * to.height;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < rows; i++) {
    const int64_t block = i / to.height, y = i % to.height;
    const int64_t lanes = std::max<int64_t>(0, std::min<int64_t>(LANES, channels - block * LANES));
    const float* from = planes + block * LANES * area + y * to.width;
    float* pixel = to.at(n, block, y, 0);
    if (lanes < LANES) std::memset(pixel, 0, to.width * LANES * sizeof(float));
    if (lanes == LANES) {
      for (int64_t x = 0; x < to.width; x++)
        for (int lane = 0; lane < LANES; lane++) pixel[x * LANES + lane] = from[lane * area + x];
    } else {
      for (int64_t x = 0; x < to.width; x++)
        for (int64_t lane = 0; lane < lanes; lane++)
          pixel[x * LANES + lane] = from[lane * area + x];
    }
  }
}

static void spill(const Map& from, int64_t n, float* planes, int64_t channels) {
  const int64_t area = from.height * from.width, rows = from.blocks * from.height;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < rows; i++) {
    const int64_t block = i / from.height, y = i % from.height;
    const int64_t lanes = std::min<int64_t>(LANES, channels - block * LANES);
    float* to = planes + block * LANES * area + y * from.width;
    const float* pixel = from.at(n, block, y, 0);
    for (int64_t lane = 0; lane < lanes; lane++)
      for (int64_t x = 0; x < from.width; x++) to[lane * area + x] = pixel[x * LANES + lane];
  }
}

// The sum of convolutions of all `maps`, (count, channels, height, width) each, and then residual
// blocks: x + conv(relu(conv(x))). The first layers have one bias, that of the first.
static void chain(const std::vector<const float*>& maps, int64_t count, int64_t channels,
                  int64_t height, int64_t width, int64_t feat, int64_t blocks, Weights weights,
                  float* out) {
  Arena arena;
  const int64_t area = height * width;
  const Map from = arena.map(count, std::max(blocks_of(channels), blocks_of(feat)), height, width);
  const Map a = arena.map(count, blocks_of(feat), height, width);
  Map given = from, hidden = from;  // one after the other in one place
  given.blocks = blocks_of(channels);
  hidden.blocks = a.blocks;
  given.clear_frame();
  for (size_t i = 0; i < maps.size(); i++) {
    for (int64_t n = 0; n < count; n++) fill(given, n, maps[i] + n * channels * area, channels);
    weights.next(arena, {given}, a, 1, i ? &a : nullptr);
  }
  hidden.clear_frame();
  for (int64_t i = 0; i < blocks; i++) {
    weights.next(arena, {a}, hidden, 0);
    weights.next(arena, {hidden}, a, 1, &a);
  }
  for (int64_t n = 0; n < count; n++) spill(a, n, out + n * feat * area, feat);
}

constexpr float SLOPE = 0.1f, VALID = 0.999f;
constexpr int64_t COST = restore_motion::SHIFTS, GIVEN = COST + 4;

// A level's features of both frames; `ones` images of the first, which all pairs share if it is 1.
struct Level {
  const float *first, *second;
  int64_t ones, channels, height, width;
};

// Phase images: pixel (y, x) of image n is pixel (y / d, x / d) of image (n d + y % d) d + x % d.
// A 3x3 convolution of dilation d is one without dilation there. What the phases have beyond the
// picture is zero.
static Map phases(Arena& arena, int64_t count, int64_t blocks, int64_t height, int64_t width,
                  int64_t d) {
  return arena.map(count * d * d, blocks, (height + d - 1) / d, (width + d - 1) / d);
}
static void rephase(const Map& from, int64_t df, const Map& to, int64_t dt, int64_t height,
                    int64_t width) {
#pragma omp parallel for schedule(static)
  for (int64_t image = 0; image < to.count; image++) {
    const int64_t n = image / (dt * dt), top = image / dt % dt, left = image % dt;
    for (int64_t block = 0; block < to.blocks; block++)
      for (int64_t i = 0; i < to.height; i++)
        for (int64_t j = 0; j < to.width; j++) {
          const int64_t y = i * dt + top, x = j * dt + left;
          Vector v = {};
          if (y < height && x < width)
            v = load(from.at((n * df + y % df) * df + x % df, block, y / df, x / df));
          store(to.at(image, block, i, j), v);
        }
  }
}

// The coarser level's flow, doubled in size by a transposed convolution (2, 2, 4, 4) of stride 2
// and padding 1, and its features likewise: these are phases in channels 2 to 9 of `coarse`.
static void enlarge(const Map& coarse, int64_t n, const float* weight, float* flow, float* more) {
  const int64_t width = 2 * coarse.width, area = 4 * coarse.height * coarse.width;
  const float* bias = weight + 64;
#pragma omp parallel for schedule(static)
  for (int64_t y = 0; y < 2 * coarse.height; y++)
    for (int64_t x = 0; x < width; x++) {
      float sum[2] = {bias[0], bias[1]};
      for (int64_t cy = (y - 1) >> 1; cy <= (y + 1) >> 1; cy++)
        for (int64_t cx = (x - 1) >> 1; cx <= (x + 1) >> 1; cx++) {
          if (cy < 0 || cy >= coarse.height || cx < 0 || cx >= coarse.width) continue;
          const float* from = coarse.at(n, 0, cy, cx);
          const float* tap = weight + (y + 1 - 2 * cy) * 4 + x + 1 - 2 * cx;
          for (int c = 0; c < 2; c++)
            for (int o = 0; o < 2; o++) sum[o] += from[c] * tap[(2 * c + o) * 16];
        }
      for (int o = 0; o < 2; o++) {
        const int64_t channel = 2 + 4 * o + y % 2 * 2 + x % 2;
        flow[o * area + y * width + x] = sum[o];
        more[o * area + y * width + x] =
            coarse.at(n, channel / LANES, y / 2, x / 2)[channel % LANES];
      }
    }
}

// Matching cost, flow and features of the coarser level, in one map.
static Map match(Arena& arena, const Level& level, int64_t count, const Map* coarse,
                 const float* up, float step) {
  const int64_t area = level.height * level.width;
  const Map made = arena.map(count, blocks_of(GIVEN), level.height, level.width);
  Arena mine;
  float *planes = mine.floats(GIVEN * area), *moved = mine.floats(level.channels * area);
  float* scaled = mine.floats(2 * area);
  for (int64_t n = 0; n < count; n++) {
    const float* first = level.first + n % level.ones * level.channels * area;
    const float* second = level.second + n * level.channels * area;
    float* flow = planes + COST * area;
    if (coarse) {
      enlarge(*coarse, n, up, flow, flow + 2 * area);
      for (int64_t i = 0; i < 2 * area; i++) scaled[i] = flow[i] * step;
      restore_motion::warp({1, level.channels, level.height, level.width, level.height,
                            level.width, 0, 0, level.height, level.width, 0, 0, false, VALID},
                           second, scaled, moved);
      second = moved;
    }
    restore_motion::correlate({1, level.channels, level.height, level.width}, first, second,
                              planes);
    for (int64_t i = 0; i < COST * area; i++) planes[i] = std::max(planes[i], SLOPE * planes[i]);
    fill(made, n, planes, coarse ? GIVEN : COST);
  }
  return made;
}

// What all decoders and the refiner make of the levels, finest first: the finest level's flow,
// (count, 2, height, width). widths: of the dense blocks' layers, then of the refiner's, with
// `dilations`; ups: weights (2, 2, 4, 4) and bias (2) for each level, coarsest first, but the
// coarsest; steps: by which flows are scaled to that level's pixels.
static void decode(const std::vector<Level>& levels, int64_t count,
                   const std::vector<int64_t>& dense, const std::vector<int64_t>& refined,
                   const std::vector<int64_t>& dilations, const float* ups, const float* steps,
                   Weights weights, float* out) {
  Map coarse;
  Arena kept;
  for (int64_t l = (int64_t)levels.size() - 1; l >= 0; l--) {
    const Level& level = levels[l];
    Arena arena;
    weights.room = 0;  // scratch memory goes with the arena
    const bool coarsest = l + 1 == (int64_t)levels.size();
    std::vector<Map> all{match(arena, level, count, coarsest ? nullptr : &coarse, ups,
                               coarsest ? 0 : *steps)};
    if (!coarsest) {
      ups += 66;
      steps++;
      const int64_t size = level.channels * level.height * level.width;
      all.push_back(arena.map(count, blocks_of(level.channels), level.height, level.width));
      for (int64_t n = 0; n < count; n++)
        fill(all[1], n, level.first + n % level.ones * size, level.channels);
    }
    for (int64_t width : dense) {
      const Map made = arena.map(count, blocks_of(width), level.height, level.width);
      weights.next(arena, all, made, SLOPE);
      all.push_back(made);
    }
    coarse = kept.map(count, blocks_of(10), level.height, level.width);
    weights.next(arena, all, coarse, 1);
    if (l) continue;
    Arena turns[2];  // only a layer's input and output are kept
    Map x = turns[0].map(count, blocks_of(refined[0]), level.height, level.width);
    weights.next(arena, all, x, SLOPE);
    for (size_t i = 1; i < refined.size(); i++) {
      const int64_t d = dilations[i], before = dilations[i - 1];
      Arena &mine = turns[i % 2], brief;
      mine.clear();
      if (d != before) {
        const Map turned = phases(brief, count, x.blocks, level.height, level.width, d);
        rephase(x, before, turned, d, level.height, level.width);
        x = turned;
      }
      const Map made = phases(mine, count, blocks_of(refined[i]), level.height, level.width, d);
      weights.next(arena, {x}, made, i + 1 < refined.size() ? SLOPE : 1);
      x = made;
    }
    const int64_t area = level.height * level.width;
    for (int64_t n = 0; n < count; n++)
      for (int64_t c = 0; c < 2; c++)
        for (int64_t y = 0; y < level.height; y++)
          for (int64_t w = 0; w < level.width; w++)
            out[(2 * n + c) * area + y * level.width + w] =
                x.at(n, 0, y, w)[c] + coarse.at(n, 0, y, w)[c];
  }
}

}  // namespace restore_video
