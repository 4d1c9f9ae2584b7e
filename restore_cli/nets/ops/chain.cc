// Chains of 3x3 convolutions with all maps in one layout between them, without gradients.
// To be read after winograd.cc.

namespace restore_chain {

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
    made.push_back(allocate(std::max<int64_t>(count, 1)));
    return (float*)made.back();
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

// Convolutions one after the other; they work in the same memory, which is the arena's.
struct Series {
  bool half = false;  // products in bfloat16
  int threads = available_threads();
  float* scratch = nullptr;
  int64_t room = 0;

  // out = rectified (in * transformed weights u + bias) + added.
  void run(Arena& arena, const std::vector<Map>& in, const float* u, const float* bias,
           const Map& out, float slope, const Map* added) {
    int64_t blocks = 0;
    for (const Map& each : in) blocks += each.blocks;
    const int64_t need = threads * scratch_size(blocks, out.blocks, false);
    if (need > room) scratch = arena.floats(room = need);
    convolve(in.data(), (int)in.size(), u, bias, slope, &out, 1, nullptr, scratch, threads,
             added, half);
  }
};

// Layers one after the other, as they were packed.
struct Weights : Series {
  const float *u, *bias;

  Weights(const float* packed, const float* biases, bool as_half)
      : u(packed + (int64_t)packed[0]), bias(biases) {
    half = as_half;
  }

  // As `run`, with the next layer's weights.
  void next(Arena& arena, const std::vector<Map>& in, const Map& out, float slope,
            const Map* added = nullptr) {
    int64_t blocks = 0;
    for (const Map& each : in) blocks += each.blocks;
    run(arena, in, u, bias, out, slope, added);
    u += weights_size(blocks, out.blocks, half);
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

}  // namespace restore_chain
