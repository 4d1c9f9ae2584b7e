// LIIF's decoder on a regular grid, from the first layer's linear part to the colours.
//
// Queries are taken in blocks whose hidden vectors stay in the L2 cache. For each query and each
// of its input neighbours with a weight other than 0, one row
//     relu(pre[neighbour] + offset_y * column_y + offset_x * column_x + bias)
// is gathered and sent through the hidden layers; the rows of a query are then blended and the
// last layer is applied once. Nothing of the size of the output times the width is ever stored.
//
// The matrix product is a register-blocked kernel over weight panels of 32 outputs. A row's
// result does not depend on the block it is in, so any window gives the same bits. With products
// in bfloat16 the hidden vectors are rounded to it; the last of them, which are blended, are not.
// To be read after forms.cc.

namespace restore_liif {

using namespace restore_blocked;

// A pass of the kernel keeps ROWS x VECTORS sums in registers.
#if defined(__AVX512F__)
constexpr int VECTORS = 2, ROWS = 12;
#elif defined(__AVX__)
constexpr int VECTORS = 2, ROWS = 6;
#elif defined(__aarch64__)
constexpr int VECTORS = 4, ROWS = 6;
#else
constexpr int VECTORS = 2, ROWS = 4;
#endif
constexpr int PANEL = 32;
constexpr int BLOCK_ROWS = 96;

inline int padded(int width) { return (width + PANEL - 1) / PANEL * PANEL; }

// Floats' room that some channels take.
template <class Form>
constexpr int words(int channels) { return (channels + Form::DEPTH - 1) / Form::DEPTH; }

// out = relu(in * weights + bias) for ROWS rows and VECTORS * LANES columns of one panel. Rows of
// `in` are held as In says, those of `out` as Out; they have room for `stride` channels.
template <class In, class Out>
INLINE void kernel(const float* in, int stride, int inputs, const float* weights,
                   const float* bias, float* out) {
  Vector sum[ROWS][VECTORS];
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < VECTORS; j++) sum[i][j] = load(bias + j * LANES);
  for (int k = 0; k < words<In>(inputs); k++) {
    Vector weight[VECTORS];
    for (int j = 0; j < VECTORS; j++) weight[j] = load(weights + k * PANEL + j * LANES);
    for (int i = 0; i < ROWS; i++) {
      const auto value = In::spread(in + i * words<In>(stride) + k);
      for (int j = 0; j < VECTORS; j++) sum[i][j] = In::add(sum[i][j], weight[j], value);
    }
  }
  const Vector zero = {};
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < VECTORS; j++)
      Out::put(out + i * words<Out>(stride) + words<Out>(j * LANES),
               sum[i][j] > zero ? sum[i][j] : zero);
}

// One hidden layer with its ReLU on `rows` rows, a multiple of ROWS.
template <class In, class Out>
static void hidden_layer(const float* in, float* out, int stride, int rows, int inputs,
                         int outputs, const float* weights, const float* bias) {
  for (int panel = 0; panel < outputs; panel += PANEL)
    for (int row = 0; row < rows; row += ROWS)
      for (int part = 0; part < PANEL; part += VECTORS * LANES)
        kernel<In, Out>(in + row * words<In>(stride), stride, inputs,
                        weights + (int64_t)panel * words<In>(inputs) + part, bias + panel + part,
                        out + row * words<Out>(stride) + words<Out>(panel + part));
}

struct Sizes {
  int64_t count, height, width;  // images, and sides of `pre`
  int sides;                     // neighbours along an axis: 2 with the ensemble, else 1
  int64_t rows, columns;         // of the output
  int colours;
  const int32_t* widths;         // of the hidden layers, `depth` of them
  int depth;
};

// Weights of the hidden layers behind the first, from the place of the first of them in the
// parameters that `decode` takes, in the form of the products; `packed` holds what is not there.
template <class Form>
static std::vector<const float*> hidden_weights(const Sizes& s, const float* next,
                                                std::vector<float>& packed) {
  std::vector<const float*> found(s.depth);
  std::vector<size_t> places(s.depth);
  for (int layer = 1; layer < s.depth; layer++) {
    const int inputs = s.widths[layer - 1], outputs = padded(s.widths[layer]);
    found[layer] = next;
    places[layer] = packed.size();
    for (int panel = 0; Form::DEPTH > 1 && panel < outputs; panel += PANEL)
      for (int k = 0; k < inputs; k += Form::DEPTH)
        for (int part = 0; part < PANEL; part += LANES) {
          Vector several[Form::DEPTH] = {};
          for (int i = 0; i < Form::DEPTH && k + i < inputs; i++)
            several[i] = load(next + (int64_t)panel * inputs + (k + i) * PANEL + part);
          packed.resize(packed.size() + LANES);
          Form::put_weights(packed.data() + packed.size() - LANES, several);
        }
    next += (int64_t)(inputs + 1) * outputs;
  }
  for (int layer = 1; Form::DEPTH > 1 && layer < s.depth; layer++)
    found[layer] = packed.data() + places[layer];
  return found;
}

// pre: (count, height, width, widths[0]) linear part of the first layer.
// parameters: offset column y, offset column x, bias; per further hidden layer its weights in
//   panels (outputs / 32, inputs, 32) and its bias, outputs padded with zeros; then the last
//   layer (colours, inputs) and its bias.
// index, offset, weight: (sides, rows) then (sides, columns).
// out: (count, colours, rows, columns).
template <class Form>
static void decode_in(const Sizes& s, const float* pre, const float* parameters,
                      const int32_t* index, const float* offset, const float* weight,
                      float* out) {
  const int first = s.widths[0], last = s.widths[s.depth - 1];
  const int stride = padded(*std::max_element(s.widths, s.widths + s.depth));
  const int queries = BLOCK_ROWS / (s.sides * s.sides);
  const int64_t area = s.rows * s.columns, total = s.count * area;
  const int64_t blocks = (total + queries - 1) / queries;
  const float *column_y = parameters, *column_x = column_y + first, *bias = column_x + first;
  const int64_t shift = s.sides * s.rows;  // where the tables of the columns start
  std::vector<float> packed;
  const std::vector<const float*> weights = hidden_weights<Form>(s, bias + first, packed);

#pragma omp parallel
  {
    std::vector<float> memory(2 * (int64_t)(BLOCK_ROWS + ROWS) * stride + 2 * stride + 3 * LANES);
    float* here = memory.data();
    here += (64 - (uintptr_t)here % 64) % 64 / sizeof(float);
    float* there = here + (int64_t)(BLOCK_ROWS + ROWS) * stride;
    float *blend = there + (int64_t)(BLOCK_ROWS + ROWS) * stride, *gathered = blend + stride;
    float share[BLOCK_ROWS];
    int ends[BLOCK_ROWS];

#pragma omp for schedule(dynamic)
    for (int64_t block = 0; block < blocks; block++) {
      const int64_t start = block * queries;
      const int taken = (int)std::min<int64_t>(queries, total - start);
      int filled = 0;
      for (int q = 0; q < taken; q++) {
        const int64_t n = (start + q) / area, y = (start + q) % area / s.columns,
                      x = (start + q) % s.columns;
        for (int i = 0; i < s.sides; i++) {
          const int64_t at_y = i * s.rows + y;
          if (weight[at_y] == 0) continue;
          for (int j = 0; j < s.sides; j++) {
            const int64_t at_x = shift + j * s.columns + x;
            if (weight[at_x] == 0) continue;
            const float* from =
                pre + ((n * s.height + index[at_y]) * s.width + index[at_x]) * first;
            const float by_y = offset[at_y], by_x = offset[at_x];
            float* held = here + (int64_t)filled * words<Form>(stride);
            float* to = Form::DEPTH == 1 ? held : gathered;
            for (int k = 0; k < first; k++) {
              const float value = from[k] + by_y * column_y[k] + by_x * column_x[k] + bias[k];
              to[k] = value > 0 ? value : 0;
            }
            for (int k = 0; Form::DEPTH > 1 && k < first; k += LANES)
              Form::put(held + words<Form>(k), load(to + k));
            share[filled++] = weight[at_y] * weight[at_x];
          }
        }
        ends[q] = filled;
      }
      const int rows = (filled + ROWS - 1) / ROWS * ROWS;
      const float* next = bias + first;
      for (int layer = 1; layer < s.depth; layer++) {
        const int inputs = s.widths[layer - 1], outputs = padded(s.widths[layer]);
        const float* added = next + (int64_t)inputs * outputs;
        const auto run = layer + 1 < s.depth ? hidden_layer<Form, Form>
                                             : hidden_layer<Form, Single>;
        run(here, there, stride, rows, inputs, outputs, weights[layer], added);
        std::swap(here, there);
        next = added + outputs;
      }
      for (int q = 0, row = 0; q < taken; q++) {
        const int64_t n = (start + q) / area, pixel = (start + q) % area;
        const float* only = here + (int64_t)row * stride;
        for (int k = 0; k < last; k++) blend[k] = share[row] * only[k];
        for (row++; row < ends[q]; row++) {
          const float* more = here + (int64_t)row * stride;
          for (int k = 0; k < last; k++) blend[k] += share[row] * more[k];
        }
        for (int c = 0; c < s.colours; c++) {
          const float* factors = next + (int64_t)c * last;
          float sum = 0;
          for (int k = 0; k < last; k++) sum += factors[k] * blend[k];
          out[(n * s.colours + c) * area + pixel] = sum + next[(int64_t)s.colours * last + c];
        }
      }
    }
  }
}

// As `decode_in` says; with `half` the products of the hidden layers are in bfloat16.
static void decode(const Sizes& s, const float* pre, const float* parameters,
                   const int32_t* index, const float* offset, const float* weight, float* out,
                   bool half) {
  with_form(half && s.depth > 1, [&](auto form) {
    decode_in<decltype(form)>(s, pre, parameters, index, offset, weight, out);
  });
}

}  // namespace restore_liif

// The map of the first layer; all other parameters; numbers; offsets and weights of corners.
RESTORE_OPERATOR(liif_decoder) {
  const int32_t* told = call.in(2).integers();
  const float* real = call.in(3).floats();
  const int64_t *from = call.in(0).shape, *to = call.out(0).shape;
  restore_liif::Sizes s;
  s.count = from[0]; s.height = from[1]; s.width = from[2];
  s.sides = told[0]; s.depth = told[1]; s.widths = told + 2;
  s.colours = to[1]; s.rows = to[2]; s.columns = to[3];
  const int64_t entries = s.sides * (s.rows + s.columns);
  restore_liif::decode(s, call.in(0).floats(), call.in(1).floats(), told + 2 + s.depth, real,
                       real + entries, call.out(0).floats(), call.is("half"));
}
