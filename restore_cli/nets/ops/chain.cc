// What operators that keep all maps in one layout between their layers share, without gradients.
// To be read after winograd.cc.

namespace restore_chain {

using namespace restore_winograd;

constexpr int64_t GROUP = 16;  // channels are padded to multiples of this, as Python packs weights

inline int64_t blocks_of(int64_t channels) {
  return (channels + GROUP - 1) / GROUP * GROUP / LANES;
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
  // Nothing in it is set.
  Map bare(int64_t count, int64_t blocks, int64_t height, int64_t width) {
    Map m;
    m.count = count;
    m.blocks = blocks;
    m.height = height;
    m.width = width;
    m.data = floats(m.size());
    return m;
  }
  // Its frame is zero, its pixels are not set.
  Map map(int64_t count, int64_t blocks, int64_t height, int64_t width) {
    const Map m = bare(count, blocks, height, width);
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

// One of the rows of all blocks of a map's image n, from rows of planes that lie `step` floats
// apart, and back. Channels beyond are zero.
static void fill_row(const Map& to, int64_t n, int64_t block, int64_t y, const float* planes,
                     int64_t step, int64_t channels) {
  const int64_t lanes = std::max<int64_t>(0, std::min<int64_t>(LANES, channels - block * LANES));
  const float* from = planes + block * LANES * step;
  float* pixel = to.at(n, block, y, 0);
  if (lanes < LANES) std::memset(pixel, 0, to.width * LANES * sizeof(float));
  if (lanes == LANES) {
    for (int64_t x = 0; x < to.width; x++)
      for (int lane = 0; lane < LANES; lane++) pixel[x * LANES + lane] = from[lane * step + x];
  } else {
    for (int64_t x = 0; x < to.width; x++)
      for (int64_t lane = 0; lane < lanes; lane++)
        pixel[x * LANES + lane] = from[lane * step + x];
  }
}

static void spill_row(const Map& from, int64_t n, int64_t block, int64_t y, float* planes,
                      int64_t step, int64_t channels) {
  const int64_t lanes = std::min<int64_t>(LANES, channels - block * LANES);
  float* to = planes + block * LANES * step;
  const float* pixel = from.at(n, block, y, 0);
  for (int64_t lane = 0; lane < lanes; lane++)
    for (int64_t x = 0; x < from.width; x++) to[lane * step + x] = pixel[x * LANES + lane];
}

// The same for whole planes (height, width) of an image.
static void fill(const Map& to, int64_t n, const float* planes, int64_t channels) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < to.blocks * to.height; i++) {
    const int64_t y = i % to.height;
    fill_row(to, n, i / to.height, y, planes + y * to.width, to.height * to.width, channels);
  }
}

static void spill(const Map& from, int64_t n, float* planes, int64_t channels) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < from.blocks * from.height; i++) {
    const int64_t y = i % from.height;
    spill_row(from, n, i / from.height, y, planes + y * from.width, from.height * from.width,
              channels);
  }
}

}  // namespace restore_chain
