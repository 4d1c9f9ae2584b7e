// What only the denoising field's U-Net has: max-blur-pooling and bilinear up-sampling, each with
// its gradient. To be read after unet_layers.cc.

namespace restore_unet {

// Maximum of 2x2 at stride 1, then [1 2 1] x [1 2 1] / 16 at stride 2 with zero padding.
static void blur_pool(const Map& in, const Map& out) {
  for_rows(out, [&](int64_t n, int64_t block, int64_t y) {
    const int64_t top = std::max<int64_t>(0, 2 * y - 1);
    const int64_t bottom = std::min(2 * y + 2, in.height - 1);
    for (int64_t x = 0; x < out.width; x++) {
      const int64_t left = std::max<int64_t>(0, 2 * x - 1);
      const int64_t right = std::min(2 * x + 2, in.width - 1);
      Vector sum = {};
      for (int64_t a = top; a < bottom; a++)
        for (int64_t b = left; b < right; b++)
          sum += Square{in.at(n, block, a, b), in.stride()}.largest() *
                 ((a % 2 ? 1.f : 2.f) * (b % 2 ? 1.f : 2.f) / 16);
      store(out.at(n, block, y, x), sum);
    }
  });
}

// As max_pool_gradient. Neighbouring maxima share pixels, so a plane is one thread's.
static void blur_pool_gradient(const Map& in, const Map& out_grad, const Map& grad, float slope) {
#pragma omp parallel for schedule(static)
  for (int64_t plane = 0; plane < in.count * in.blocks; plane++) {
    const int64_t n = plane / in.blocks, block = plane % in.blocks, line = in.stride();
    for (int64_t y = 0; y + 1 < in.height; y++)
      for (int64_t x = 0; x + 1 < in.width; x++) {
        Vector value = {}, sum[4];
        for (int64_t a = y / 2; a <= (y + 1) / 2; a++)
          for (int64_t b = x / 2; b <= (x + 1) / 2; b++) value += load(out_grad.at(n, block, a, b));
        value *= (y % 2 ? 1.f : 2.f) * (x % 2 ? 1.f : 2.f) / 16;
        float* place = grad.at(n, block, y, x);
        for (int k = 0; k < 4; k++) sum[k] = load(place + k / 2 * line + k % 2 * LANES);
        Square{in.at(n, block, y, x), line}.give(value, sum);
        for (int k = 0; k < 4; k++) store(place + k / 2 * line + k % 2 * LANES, sum[k]);
      }
    for (int64_t y = 0; y < in.height; y++)
      for (int64_t x = 0; x < in.width; x++)
        store(grad.at(n, block, y, x), rectify_gradient(load(in.at(n, block, y, x)),
                                                        load(grad.at(n, block, y, x)), slope));
  }
}

// Bilinear, to twice the size, corners not aligned.
static void upsample(const Map& in, const Map& out) {
  for_rows(out, [&](int64_t n, int64_t block, int64_t y) {
    const int64_t other = std::min(std::max<int64_t>(y / 2 + (y % 2 ? 1 : -1), 0), in.height - 1);
    const float *near = in.at(n, block, y / 2, 0), *far = in.at(n, block, other, 0);
    auto blend = [&](int64_t x) {
      return 0.75f * load(near + x * LANES) + 0.25f * load(far + x * LANES);
    };
    float* place = out.at(n, block, y, 0);
    Vector before = blend(0), here = before;
    for (int64_t x = 0; x < in.width; x++, place += 2 * LANES) {
      const Vector after = blend(std::min(x + 1, in.width - 1));
      store(place, 0.25f * before + 0.75f * here);
      store(place + LANES, 0.75f * here + 0.25f * after);
      before = here;
      here = after;
    }
  });
}

// Gradient of the map that was enlarged, before its ReLU.
static void upsample_gradient(const Map& out_grad, const Map& in, const Map& grad, float slope) {
  for_rows(in, [&](int64_t n, int64_t block, int64_t y) {
    const float* rows[4];
    for (int64_t k = 0; k < 4; k++)
      rows[k] = out_grad.at(n, block, std::min(std::max<int64_t>(2 * y - 1 + k, 0),
                                               out_grad.height - 1), 0);
    auto blend = [&](int64_t x) {
      const int64_t at = std::min(x, out_grad.width - 1) * LANES;
      return 0.25f * (load(rows[0] + at) + load(rows[3] + at)) +
             0.75f * (load(rows[1] + at) + load(rows[2] + at));
    };
    Vector before = blend(0), first = before;
    for (int64_t x = 0; x < in.width; x++) {
      const Vector second = blend(2 * x + 1), after = blend(2 * x + 2);
      const Vector sum = 0.25f * (before + after) + 0.75f * (first + second);
      store(grad.at(n, block, y, x), rectify_gradient(load(in.at(n, block, y, x)), sum, slope));
      before = second;
      first = after;
    }
  });
}

}  // namespace restore_unet
