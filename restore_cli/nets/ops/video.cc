// PWC-Net's decoders and refiner (Sun et al., CVPR 2018) without gradients, with all maps in one
// layout between the layers. To be read after chain.cc and motion.cc.

namespace restore_video {

using namespace restore_chain;

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
