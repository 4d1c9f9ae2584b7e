// Chains of 3x3 convolutions by a team of threads, without gradients. To be read after team.cc,
// chain.cc and motion.cc.

namespace restore_chain {

// Transformed weights begin on a cache line; how far in the buffer is noted in front of them.
static float* noted(float* buffer) {
  int64_t distance = 1;
  while ((uintptr_t)(buffer + distance) % 64) distance++;
  buffer[0] = (float)distance;
  return buffer + distance;
}

// Transformed weights and biases, one layer after the other, as they were packed.
struct Packed {
  const float *u, *bias;
  bool half;  // products in bfloat16

  Packed(const float* packed, const float* biases, bool as_half)
      : u(packed + (int64_t)packed[0]), bias(biases), half(as_half) {}
};

// One thread's way through the layers. scratch: its own, as scratch_size() says for each of them.
struct Steps {
  const Member& member;
  Packed left;
  float* scratch;

  // out = rectified (in * the next weights + bias) + added. The threads wait for each other.
  void next(const std::vector<Map>& in, const Map& out, float slope, const Map* added = nullptr) {
    int64_t blocks = 0;
    for (const Map& each : in) blocks += each.blocks;
    with_form(left.half, [&](auto form) {
      convolve_part<decltype(form)>(member, in.data(), (int)in.size(), left.u, left.bias, slope,
                                    &out, 1, nullptr, scratch, added);
    });
    member.wait();
    left.u += weights_size(blocks, out.blocks, left.half);
    left.bias += out.blocks * LANES;
  }
};

// A thread's share of `fill` and `spill` for all images, planes (count, channels, height, width).
static void fill_part(const Member& member, const Map& to, const float* planes,
                      int64_t channels) {
  const int64_t area = to.height * to.width;
  member.rows(to, [&](int64_t n, int64_t block, int64_t y) {
    fill_row(to, n, block, y, planes + n * channels * area + y * to.width, area, channels);
  });
}
static void spill_part(const Member& member, const Map& from, float* planes, int64_t channels) {
  const int64_t area = from.height * from.width;
  member.rows(from, [&](int64_t n, int64_t block, int64_t y) {
    spill_row(from, n, block, y, planes + n * channels * area + y * from.width, area, channels);
  });
}

// A map (count, channels, height, width); with a flow it is sampled where that points to.
struct Given {
  const float* map;
  const float* flow = nullptr;
  restore_motion::Warp place = {};
};

// A thread's share of sampling.
static void warp_part(const Member& member, const Map& from, const Given& given, const Map& to) {
  const restore_motion::Warp& place = given.place;
  const int64_t right = place.width > 1 ? LANES : 0, down = place.height > 1 ? from.stride() : 0;
  member.share(to.count * to.height, [&](int64_t i) {
    const int64_t n = i / to.height, y = i % to.height;
    const restore_motion::Table table(place, given.flow, n, y, y + 1, false);
    const float *w0 = table.weight[0].data(), *w1 = table.weight[1].data(),
                *w2 = table.weight[2].data(), *w3 = table.weight[3].data();
    for (int64_t block = 0; block < to.blocks; block++)
      for (int64_t x = 0; x < to.width; x++) {
        const int64_t base = table.base[x];
        const float* v = from.at(n, block, base / place.width, base % place.width);
        store(to.at(n, block, y, x), load(v) * w0[x] + load(v + right) * w1[x] +
                                         load(v + down) * w2[x] + load(v + down + right) * w3[x]);
      }
  });
}

// The sum of convolutions of all `maps` and then residual blocks: x + conv(relu(conv(x))).
// The first layers have one bias, that of the first.
static void chain(const std::vector<Given>& maps, int64_t count, int64_t channels, int64_t height,
                  int64_t width, int64_t feat, int64_t blocks, const Packed& packed, float* out) {
  Arena arena;
  const Map a = arena.bare(count, blocks_of(feat), height, width);
  const Map both = arena.bare(count, std::max(blocks_of(channels), a.blocks), height, width);
  Map given = both, hidden = both, source = both;  // the first two one after the other
  given.blocks = source.blocks = blocks_of(channels);
  hidden.blocks = a.blocks;
  const auto sized = [&](const Given& each) {
    Map made = source;
    made.height = each.place.height;
    made.width = each.place.width;
    return made;
  };
  int64_t room = 0;
  for (const Given& each : maps)
    if (each.flow) room = std::max(room, sized(each).size());
  source.data = arena.floats(room);
  const int threads = available_threads();
  const int64_t share = std::max(scratch_size(given.blocks, a.blocks, false),
                                 scratch_size(a.blocks, a.blocks, false));
  float* scratch = arena.floats(threads * share);
  together(threads, [&](const Member& member) {
    Steps steps{member, packed, scratch + member.me * share};
    member.clear_frame(a);
    member.clear_frame(both);
    for (size_t i = 0; i < maps.size(); i++) {
      fill_part(member, maps[i].flow ? sized(maps[i]) : given, maps[i].map, channels);
      member.wait();
      if (maps[i].flow) {
        warp_part(member, sized(maps[i]), maps[i], given);
        member.wait();
      }
      steps.next({given}, a, 1, i ? &a : nullptr);
    }
    for (int64_t i = 0; i < blocks; i++) {
      steps.next({a}, hidden, 0);
      steps.next({hidden}, a, 1, &a);
    }
    spill_part(member, a, out, feat);
  });
}

}  // namespace restore_chain
