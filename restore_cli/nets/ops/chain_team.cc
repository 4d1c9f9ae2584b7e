// Chains of 3x3 convolutions by a team of threads, without gradients. To be read after team.cc and
// chain.cc.

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

// The sum of convolutions of all `maps`, (count, channels, height, width) each, and then residual
// blocks: x + conv(relu(conv(x))). The first layers have one bias, that of the first.
static void chain(const std::vector<const float*>& maps, int64_t count, int64_t channels,
                  int64_t height, int64_t width, int64_t feat, int64_t blocks,
                  const Packed& packed, float* out) {
  Arena arena;
  const Map a = arena.bare(count, blocks_of(feat), height, width);
  const Map both = arena.bare(count, std::max(blocks_of(channels), a.blocks), height, width);
  Map given = both, hidden = both;  // one after the other in one place
  given.blocks = blocks_of(channels);
  hidden.blocks = a.blocks;
  const int threads = available_threads();
  const int64_t share = std::max(scratch_size(given.blocks, a.blocks, false),
                                 scratch_size(a.blocks, a.blocks, false));
  float* scratch = arena.floats(threads * share);
  together(threads, [&](const Member& member) {
    Steps steps{member, packed, scratch + member.me * share};
    member.clear_frame(a);
    member.clear_frame(both);
    member.wait();
    for (size_t i = 0; i < maps.size(); i++) {
      fill_part(member, given, maps[i], channels);
      member.wait();
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
