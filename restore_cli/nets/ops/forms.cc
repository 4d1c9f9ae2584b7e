// How operators hold the channels that they multiply: in float32, or in bfloat16 with sums in
// float32. To be read after blocked.cc.

#if defined(__AVX512BF16__) && defined(__AVX512F__)
#include <immintrin.h>
#define RESTORE_HALF
#endif

namespace restore_blocked {

// How a block of channels is held, in WORDS floats' room, of which each step of a product takes
// one, that is DEPTH channels.
struct Single {
  static constexpr int WORDS = LANES, DEPTH = 1;
  static INLINE void put(float* to, Vector v) { store(to, v); }
  static INLINE void put_weights(float* to, const Vector* u) { store(to, u[0]); }
  static INLINE float spread(const float* value) { return *value; }
  static INLINE Vector add(Vector sum, Vector weight, float value) { return sum + weight * value; }
};

#ifdef RESTORE_HALF
// Pairs of channels in bfloat16, rounded to the nearest; VDPBF16PS adds both products to a float32.
struct Half {
  static constexpr int WORDS = LANES / 2, DEPTH = 2;
  static INLINE void put(float* to, Vector v) {
    _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh((__m512)v));
  }
  static INLINE void put_weights(float* to, const Vector* u) {
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)u[0]));
    const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)u[1]));
    store(to, (Vector)_mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
  static INLINE Vector spread(const float* pair) { return (Vector)_mm512_set1_ps(*pair); }
  static INLINE Vector add(Vector sum, Vector weight, Vector pair) {
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)weight, (__m512bh)pair);
  }
};
#endif

// What `kernel` makes of Single(), or of Half() where the processor has its products.
template <class Kernel>
INLINE void with_form(bool half, Kernel kernel) {
  if (!half) return kernel(Single());
#ifdef RESTORE_HALF
  kernel(Half());
#else
  throw std::logic_error("bfloat16 products were asked for where there are none");
#endif
}

}  // namespace restore_blocked
