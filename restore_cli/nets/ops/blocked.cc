// Feature maps in blocks of channels, with a frame of zeros, for operators that keep them in one
// layout from the first layer to the last; written with the vector extension of GCC and Clang,
// which fits AVX-512, AVX2 and NEON alike.

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <type_traits>
#include <vector>

namespace restore_blocked {

// Floats in a vector register, and channels in a block.
#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Vector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
#define INLINE inline __attribute__((always_inline))

INLINE Vector load(const float* p) { return *(const Vector*)p; }
INLINE void store(float* p, Vector v) { *(Vector*)p = v; }
INLINE Vector larger(Vector a, Vector b) { return a > b ? a : b; }

// ReLU, which multiplies what is below zero by `slope` (0 to 1); and what it makes of the gradient
// of its result `active`.
INLINE Vector rectify(Vector v, float slope) { return larger(v, slope * v); }
INLINE Vector rectify_gradient(Vector active, Vector grad, float slope) {
  const Vector zero = {};
  return active > zero ? grad : slope * grad;
}

inline int available_threads() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

// `count` images of `blocks` * LANES channels; each plane has a frame of one pixel at the top and
// left and one to four at the bottom and right, which must hold zeros.
struct Map {
  float* data = nullptr;
  int64_t count = 0, blocks = 0, height = 0, width = 0;
  int64_t tiles_y() const { return (height + 3) / 4; }
  int64_t tiles_x() const { return (width + 3) / 4; }
  int64_t stride() const { return (tiles_x() * 4 + 2) * LANES; }
  int64_t plane() const { return (tiles_y() * 4 + 2) * stride(); }
  int64_t size() const { return count * blocks * plane(); }
  float* at(int64_t n, int64_t block, int64_t y, int64_t x) const {
    return data + (n * blocks + block) * plane() + (y + 1) * stride() + (x + 1) * LANES;
  }
  // That of one of the count * blocks planes, or of all.
  void clear_frame_of(int64_t i) const {
    float *top = data + i * plane(), *end = top + plane();
    const int64_t line = stride(), right = (width + 1) * LANES;
    std::memset(top, 0, line * sizeof(float));
    for (int64_t y = 1; y <= height; y++) {
      float* row = top + y * line;
      std::memset(row, 0, LANES * sizeof(float));
      std::memset(row + right, 0, (line - right) * sizeof(float));
    }
    float* bottom = top + (height + 1) * line;
    std::memset(bottom, 0, (end - bottom) * sizeof(float));
  }
  void clear_frame() const {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count * blocks; i++) clear_frame_of(i);
  }
};

// Memory to be freed.
inline float* allocate(int64_t floats) {
  void* made = nullptr;
  const size_t size = floats * sizeof(float), huge = 1 << 21;
  if (posix_memalign(&made, size < huge ? 64 : huge, size)) throw std::bad_alloc();
#ifdef __linux__
  // Transforms write 36 places at once, each in another page; large pages save a tenth.
  if (size >= huge) madvise(made, size, MADV_HUGEPAGE);
#endif
  return (float*)made;
}

// Memory that is kept between calls while they need about as much.
class Pool {
  float* base = nullptr;
  int64_t room = 0, used = 0;

 public:
  void reserve(int64_t floats) {
    used = 0;
    if (floats <= room && floats * 4 >= room) return;
    std::free(base);
    base = nullptr;
    room = 0;
    base = allocate(floats);
    room = floats;
  }
  static int64_t rounded(int64_t floats) { return (floats + 15) / 16 * 16; }
  float* take(int64_t floats) {
    float* made = base + used;
    used += rounded(floats);
    return made;
  }
};

}  // namespace restore_blocked
