// MetaSR's decoder on a regular grid: for each output pixel the hidden vector of its offset, and
// its inner products with the three maps of the input pixel it lies in.

#include <cstdint>
#include <vector>

namespace restore_metasr {

struct Sizes {
  int64_t count, height, width;  // images, and sides of `maps`
  int64_t rows, columns;         // of the output
  int hidden;
};

// maps: (count, height, width, 3 * hidden + 3): for each colour a map per hidden unit, then for
//   each colour the part that does not depend on the offset.
// parameters: factors of offset y, factors of offset x, bias; `hidden` each.
// index, offset: (rows) then (columns).
// out: (count, 3, rows, columns).
static void decode(const Sizes& s, const float* maps, const float* parameters,
                   const int32_t* index, const float* offset, float* out) {
  const int hidden = s.hidden, channels = 3 * hidden + 3;
  const float *factor_y = parameters, *factor_x = factor_y + hidden, *bias = factor_x + hidden;
  const int64_t area = s.rows * s.columns;

#pragma omp parallel
  {
    std::vector<float> row(hidden), unit(hidden);
#pragma omp for schedule(dynamic)
    for (int64_t line = 0; line < s.count * s.rows; line++) {
      const int64_t n = line / s.rows, y = line % s.rows;
      for (int k = 0; k < hidden; k++) row[k] = offset[y] * factor_y[k] + bias[k];
      const float* source = maps + (n * s.height + index[y]) * s.width * channels;
      float* target = out + n * 3 * area + y * s.columns;
      for (int64_t x = 0; x < s.columns; x++) {
        const float* from = source + (int64_t)index[s.rows + x] * channels;
        const float by_x = offset[s.rows + x];
        const float *red = from, *green = red + hidden, *blue = green + hidden;
        float r = 0, g = 0, b = 0;
        for (int k = 0; k < hidden; k++) {
          const float value = row[k] + by_x * factor_x[k];
          unit[k] = value > 0 ? value : 0;
        }
        for (int k = 0; k < hidden; k++) {
          r += unit[k] * red[k];
          g += unit[k] * green[k];
          b += unit[k] * blue[k];
        }
        const float* added = blue + hidden;
        target[x] = r + added[0];
        target[area + x] = g + added[1];
        target[2 * area + x] = b + added[2];
      }
    }
  }
}

}  // namespace restore_metasr

// Maps of the hidden units; the first layer's parameters; numbers; offsets.
RESTORE_OPERATOR(metasr_decoder) {
  const int32_t* told = call.in(2).integers();
  const int64_t *from = call.in(0).shape, *to = call.out(0).shape;
  restore_metasr::Sizes s;
  s.count = from[0]; s.height = from[1]; s.width = from[2];
  s.rows = to[2]; s.columns = to[3]; s.hidden = told[0];
  restore_metasr::decode(s, call.in(0).floats(), call.in(1).floats(), told + 1,
                         call.in(3).floats(), call.out(0).floats());
}
