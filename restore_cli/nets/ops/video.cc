// PWC-Net's decoders and refiner (Sun et al., CVPR 2018) without gradients, with all maps in one
// layout between the layers. To be read after chain_team.cc and motion.cc.

namespace restore_video {

using namespace restore_chain;
using restore_motion::Rows;

constexpr float SLOPE = 0.1f, VALID = 0.999f;
// Channels of the cost volume, of that with the coarser level's flow and features, and of what a
// dense block ends in: flow, and phases of what the next level takes.
constexpr int64_t COST = restore_motion::SHIFTS, GIVEN = COST + 4, MADE = 10;

// A level's features of both frames; `ones` images of the first, which all pairs share if it is 1.
struct Level {
  const float *first, *second;
  int64_t ones, channels, height, width;
  int64_t area() const { return height * width; }
};

// Layers' outputs of the dense blocks and of the refiner, with its dilations. ups: weights
// (2, 2, 4, 4) and bias (2) for each level, coarsest first, but the coarsest; steps: by which
// flows are scaled to that level's pixels.
struct Widths {
  std::vector<int64_t> dense, refined, dilations;
  const float *ups, *steps;
};

// Phase images: pixel (y, x) of image n is pixel (y / d, x / d) of image (n d + y % d) d + x % d.
// A 3x3 convolution of dilation d is one without dilation there. What the phases have beyond the
// picture is zero. `base` is a map of the picture; this one has its place in memory.
static Map phases(const Map& base, int64_t count, int64_t blocks, int64_t d) {
  Map made = base;
  made.count = count * d * d;
  made.blocks = blocks;
  made.height = (base.height + d - 1) / d;
  made.width = (base.width + d - 1) / d;
  return made;
}
static void rephase(const Member& member, const Map& from, int64_t df, const Map& to, int64_t dt,
                    int64_t height, int64_t width) {
  member.rows(to, [&](int64_t image, int64_t block, int64_t i) {
    const int64_t n = image / (dt * dt), top = image / dt % dt, left = image % dt;
    const int64_t y = i * dt + top;
    for (int64_t j = 0; j < to.width; j++) {
      const int64_t x = j * dt + left;
      Vector v = {};
      if (y < height && x < width)
        v = load(from.at((n * df + y % df) * df + x % df, block, y / df, x / df));
      store(to.at(image, block, i, j), v);
    }
  });
}

// A row of the coarser level's flow, doubled in size by a transposed convolution (2, 2, 4, 4) of
// stride 2 and padding 1, and of its features likewise: these are phases in channels 2 to 9 of
// `coarse`. made: four planes, flow and features.
static void enlarge_row(const Map& coarse, int64_t n, int64_t y, const float* weight,
                        float* made) {
  const int64_t width = 2 * coarse.width, area = 4 * coarse.height * coarse.width;
  const float* bias = weight + 64;
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
      made[o * area + y * width + x] = sum[o];
      made[(2 + o) * area + y * width + x] =
          coarse.at(n, channel / LANES, y / 2, x / 2)[channel % LANES];
    }
  }
}

// A row of the second frame's features, sampled where the flow points to.
static void warp_row(const Level& level, const float* second, const float* flow, float step,
                     float* scaled, int64_t n, int64_t y, const Rows& to) {
  const int64_t area = level.area(), width = level.width;
  for (int64_t i = 0; i < 2; i++)
    for (int64_t x = y * width; x < (y + 1) * width; x++)
      scaled[i * area + x] = flow[i * area + x] * step;
  const restore_motion::Warp call{1, level.channels, level.height, width, level.height, width, 0,
                                  0, level.height, width, 0, 0, false, VALID};
  const restore_motion::Table table(call, scaled, 0, y, y + 1, false);
  const restore_motion::Corners corners(call);
  to.clear_ends(n, y);
  const float *w0 = table.weight[0].data(), *w1 = table.weight[1].data(),
              *w2 = table.weight[2].data(), *w3 = table.weight[3].data();
  const int64_t o1 = corners.offset[1], o2 = corners.offset[2], o3 = corners.offset[3];
  const int32_t* base = table.base.data();
  for (int64_t c = 0; c < level.channels; c++) {
    float* row = to.at(n, y) + c * to.stride;
    for (int64_t x = 0; x < width; x++) {
      const float* v = second + c * area + base[x];
      row[x] = w0[x] * v[0] + w1[x] * v[o1] + w2[x] * v[o2] + w3[x] * v[o3];
    }
  }
}

// Matching cost, flow and features of the coarser level in `made`, and the first frame's features.
static void match(const Level& level, int64_t count, int threads, const Map* coarse,
                  const float* up, float step, const Map& made, const Map* features) {
  const int64_t area = level.area(), width = level.width;
  Arena arena;
  const restore_motion::Size size{1, level.channels, level.height, width};
  Rows one(size, nullptr), two(size, nullptr);
  one.data = arena.floats(one.size(level.ones));
  two.data = arena.floats(two.size(count));
  float *given = arena.floats(count * 4 * area), *scaled = arena.floats(count * 2 * area);
  const int64_t line = (width + LANES - 1) / LANES * LANES;
  float* lines = arena.floats(threads * GIVEN * line);
  together(threads, [&](const Member& member) {
    member.clear_frame(made);
    member.share(level.ones * level.height, [&](int64_t i) {
      one.put(i / level.height, i % level.height,
              level.first + i / level.height * level.channels * area);
    });
    member.share(count * level.height, [&](int64_t i) {
      const int64_t n = i / level.height, y = i % level.height;
      const float* second = level.second + n * level.channels * area;
      if (!coarse) return two.put(n, y, second);
      float* flow = given + n * 4 * area;
      enlarge_row(*coarse, n, y, up, flow);
      warp_row(level, second, flow, step, scaled + n * 2 * area, n, y, two);
    });
    if (features) {
      member.clear_frame(*features);
      member.rows(*features, [&](int64_t n, int64_t block, int64_t y) {
        fill_row(*features, n, block, y,
                 level.first + n % level.ones * level.channels * area + y * width, area,
                 level.channels);
      });
    }
    member.wait();
    float* rows = lines + member.me * GIVEN * line;
    member.share(count * level.height, [&](int64_t i) {
      const int64_t n = i / level.height, y = i % level.height;
      restore_motion::correlate_row(one, n % level.ones, two, n, y, rows, line);
      for (int64_t k = 0; k < COST * line; k += LANES)
        store(rows + k, rectify(load(rows + k), SLOPE));
      for (int64_t c = 0; coarse && c < 4; c++)
        std::memcpy(rows + (COST + c) * line, given + (n * 4 + c) * area + y * width,
                    width * sizeof(float));
      for (int64_t block = 0; block < made.blocks; block++)
        fill_row(made, n, block, y, rows, line, coarse ? GIVEN : COST);
    });
  });
}

// One of the refiner's maps: a layer's output in phases of `dilation`, or where that changes the
// output before it, from phases of `before`. They take turns in three places.
struct Turn {
  bool is_layer;
  int64_t before, dilation;
  Map map;
};

// All of them, in places that are the arena's.
static std::vector<Turn> turns_of(const Widths& widths, const Map& flow, Arena& arena) {
  std::vector<Turn> turns;
  for (size_t i = 0; i < widths.refined.size(); i++) {
    const int64_t d = widths.dilations[i], before = i ? widths.dilations[i - 1] : d;
    if (d != before)
      turns.push_back({false, before, d, phases(flow, flow.count, turns.back().map.blocks, d)});
    turns.push_back({true, before, d, phases(flow, flow.count, blocks_of(widths.refined[i]), d)});
  }
  for (size_t place = 0; place < 3; place++) {
    int64_t room = 0;
    for (size_t i = place; i < turns.size(); i += 3) room = std::max(room, turns[i].map.size());
    float* data = arena.floats(room);
    for (size_t i = place; i < turns.size(); i += 3) turns[i].map.data = data;
  }
  return turns;
}

// The refiner: its input is that of the layer behind `all`, its output added to the flow.
static void refine(Steps& steps, const std::vector<Map>& all, const std::vector<Turn>& turns,
                   const Map& flow, float* out) {
  const Member& member = steps.member;
  const int64_t count = flow.count, height = flow.height, width = flow.width;
  std::vector<Map> in = all;
  for (const Turn& turn : turns) {
    member.clear_frame(turn.map);
    if (turn.is_layer) {
      steps.next(in, turn.map, &turn == &turns.back() ? 1 : SLOPE);
    } else {
      rephase(member, in[0], turn.before, turn.map, turn.dilation, height, width);
      member.wait();
    }
    in = {turn.map};
  }
  const Map& made = in[0];
  member.share(count * 2 * height, [&](int64_t i) {
    const int64_t n = i / (2 * height), c = i / height % 2, y = i % height;
    for (int64_t x = 0; x < width; x++)
      out[i * width + x] = made.at(n, 0, y, x)[c] + flow.at(n, 0, y, x)[c];
  });
}

// What all decoders and the refiner make of the levels, finest first: the finest level's flow,
// (count, 2, height, width).
static void decode(const std::vector<Level>& levels, int64_t count, const Widths& widths,
                   Packed packed, float* out) {
  Map coarse;
  Arena kept;
  const int threads = available_threads();
  const float *ups = widths.ups, *steps = widths.steps;
  for (int64_t l = (int64_t)levels.size() - 1; l >= 0; l--) {
    const Level& level = levels[l];
    const bool coarsest = l + 1 == (int64_t)levels.size();
    const auto bare = [&](Arena& arena, int64_t channels) {
      return arena.bare(count, blocks_of(channels), level.height, level.width);
    };
    Arena arena;
    std::vector<Map> all{bare(arena, GIVEN)};
    if (!coarsest) all.push_back(bare(arena, level.channels));
    match(level, count, threads, coarsest ? nullptr : &coarse, ups, coarsest ? 0 : *steps, all[0],
          coarsest ? nullptr : &all[1]);
    if (!coarsest) {
      ups += 66;
      steps++;
    }
    int64_t blocks = 0, share = 0;
    const auto layer = [&](int64_t in, int64_t channels) {
      share = std::max(share, scratch_size(in, blocks_of(channels), false));
      return blocks_of(channels);
    };
    for (const Map& each : all) blocks += each.blocks;
    for (int64_t width : widths.dense) blocks += layer(blocks, width);
    layer(blocks, MADE);
    for (int64_t width : widths.refined) blocks = layer(blocks, width);
    const size_t given = all.size();
    for (int64_t width : widths.dense) all.push_back(bare(arena, width));
    coarse = bare(kept, MADE);
    std::vector<Turn> turns;
    if (!l) turns = turns_of(widths, coarse, arena);
    float* scratch = arena.floats(threads * share);
    Packed left = packed;
    together(threads, [&](const Member& member) {
      Steps layers{member, packed, scratch + member.me * share};
      std::vector<Map> in(all.begin(), all.begin() + given);
      for (size_t i = given; i < all.size(); i++) {
        member.clear_frame(all[i]);
        layers.next(in, all[i], SLOPE);
        in.push_back(all[i]);
      }
      member.clear_frame(coarse);
      layers.next(in, coarse, 1);
      if (!l) refine(layers, in, turns, coarse, out);
      if (!member.me) left = layers.left;
    });
    packed = left;
  }
}

}  // namespace restore_video
