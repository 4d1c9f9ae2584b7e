// Threads that take many short steps together. Where each step is a parallel region of its own,
// threads that do not spin between them (see OMP_WAIT_POLICY in runtime/environment.py) are woken
// every time, which takes longer than a small step. Here they look for each other for a while
// before they sleep. To be read after winograd.cc.

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace restore_winograd {

constexpr int LEAST_LOOKS = 32, MOST_LOOKS = 2048;  // the latter take some 50 microseconds

class Meeting {
  std::atomic<int> arrived{0}, number{0};
  std::mutex mutex;
  std::condition_variable changed;

 public:
  // looks: how often to look before sleeping; grows where that helps, and falls where it does not,
  // as it is when threads have no processor of their own.
  void wait(int all, int& looks) {
    const int now = number.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == all) {
      arrived.store(0, std::memory_order_relaxed);
      {
        std::lock_guard<std::mutex> lock(mutex);
        number.fetch_add(1, std::memory_order_release);
      }
      changed.notify_all();
      return;
    }
    for (int look = 0; look < looks; look++) {
      if (number.load(std::memory_order_acquire) != now) {
        looks = std::min(2 * looks, MOST_LOOKS);
        return;
      }
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#endif
    }
    looks = std::max(looks / 4, LEAST_LOOKS);
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return number.load(std::memory_order_relaxed) != now; });
  }
};

// One of the threads of a team.
struct Member {
  Meeting& meeting;
  int me, all;
  mutable int looks = MOST_LOOKS;
  // Waits until all have come here; then each sees what the others have done.
  void wait() const {
    if (all > 1) meeting.wait(all, looks);
  }
  int64_t begin(int64_t count) const { return count * me / all; }
  int64_t end(int64_t count) const { return count * (me + 1) / all; }
  // Its share of what is to be done `count` times.
  template <class Action>
  INLINE void share(int64_t count, Action action) const {
    for (int64_t i = begin(count); i < end(count); i++) action(i);
  }
  template <class Action>
  INLINE void rows(const Map& map, Action action) const {
    share(map.count * map.blocks * map.height, [&](int64_t i) {
      const int64_t plane = i / map.height;
      action(plane / map.blocks, plane % map.blocks, i % map.height);
    });
  }
  void clear_frame(const Map& map) const {
    share(map.count * map.blocks, [&](int64_t i) { map.clear_frame_of(i); });
  }
};

// Calls work(member) in every thread; nothing may be thrown there.
template <class Work>
static void together(int threads, Work work) {
  Meeting meeting;
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
  work(Member{meeting, omp_get_thread_num(), omp_get_num_threads()});
#else
  work(Member{meeting, 0, 1});
#endif
}

// What a member does of a convolution: some tiles of all outputs; or, where there are few tiles,
// all of some outputs, for then most time goes into reading the weights.
struct Part {
  int64_t first, stop, block, end;  // tiles, blocks of outputs
  Part(const Member& member, int64_t tiles, int64_t blocks) {
    const int64_t panels = (blocks + VECTORS - 1) / VECTORS;
    const bool few = tiles <= 2 * ROWS && panels > 1;
    first = few ? 0 : member.begin(tiles);
    stop = few ? tiles : member.end(tiles);
    block = few ? member.begin(panels) * VECTORS : 0;
    end = few ? std::min(member.end(panels) * VECTORS, blocks) : blocks;
    if (block == end) stop = first;
  }
};

// Products of one point with the blocks of outputs from `block` to `end`.
template <class Form>
static void multiply_part(const Part& part, const float* v, const Chunk& in, int64_t tiles,
                          const float* u, float* m, const Chunk& out) {
  for (int64_t block = part.block; block < part.end;) {
    const float* weights = u + block * in.blocks * Form::WORDS * LANES;
    float* to = m + block * out.tiles * LANES;
    if (block + VECTORS <= part.end) {
      multiply_tiles<VECTORS, Form>(v, in, tiles, weights, to, out);
      block += VECTORS;
    } else {
      multiply_tiles<1, Form>(v, in, tiles, weights, to, out);
      block++;
    }
  }
}

// A member's part of `convolve`. scratch: its own, scratch_size() floats.
template <class Form>
static void convolve_part(const Member& member, const Map* in, int ins, const float* u,
                          const float* bias, float slope, const Map* out, int outs,
                          const Map* mask, float* scratch, const Map* added) {
  int64_t in_blocks = 0, out_blocks = 0;
  for (int i = 0; i < ins; i++) in_blocks += in[i].blocks;
  for (int i = 0; i < outs; i++) out_blocks += out[i].blocks;
  const int64_t room = chunk_tiles(in_blocks, out_blocks);
  const Chunk from{room, in_blocks, Form::WORDS}, to{room, out_blocks};
  const int64_t step = in_blocks * out_blocks * Form::WORDS * LANES;
  const Part part(member, in[0].count * in[0].tiles_y() * in[0].tiles_x(), out_blocks);
  float *v = scratch, *m = v + Pool::rounded(from.size());
  for (int64_t first = part.first; first < part.stop; first += room) {
    const int64_t tiles = std::min(room, part.stop - first);
    transform_inputs<Form>(in, ins, first, tiles, from, v);
    for (int p = 0; p < POINTS; p++)
      multiply_part<Form>(part, v + p * from.step(), from, tiles, u + p * step, m + p * to.step(),
                          to);
    int64_t number = 0;
    for (int i = 0; i < outs; i++)
      for (int64_t block = 0; block < out[i].blocks; block++, number++)
        if (number >= part.block && number < part.end)
          finish_tiles(m + number * room * LANES, to, first, tiles,
                       bias ? bias + number * LANES : nullptr, slope, mask, added, out[i], block);
  }
}

}  // namespace restore_winograd
