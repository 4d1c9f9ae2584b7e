// Trunks of encoders without gradients: residual blocks with or without channel attention (EDSR,
// RCAN), and residual dense blocks (RDN). To be read after chain.cc.

namespace restore_trunks {

using namespace restore_chain;

// A convolution as the network holds it: weight (outputs, inputs, side, side).
struct Given {
  const float *weight, *bias;
  int64_t outputs, inputs;
};

// For pixels from `offset` on: the sum over channels k of from[k / LANES][k % LANES] * u[k][output]
// and what `start` gives.
template <int pixels, int vectors, class Start>
INLINE void mix(const std::vector<const float*>& from, int64_t offset, const float* u,
                float* const* to, Start start) {
  Vector sum[pixels][vectors];
  for (int i = 0; i < pixels; i++)
    for (int j = 0; j < vectors; j++) sum[i][j] = start(j, offset + i * LANES);
  for (const float* block : from)
    for (int k = 0; k < LANES; k++, u += vectors * LANES) {
      Vector weight[vectors];
      for (int j = 0; j < vectors; j++) weight[j] = load(u + j * LANES);
      for (int i = 0; i < pixels; i++) {
        const float value = block[offset + i * LANES + k];
        for (int j = 0; j < vectors; j++) sum[i][j] += weight[j] * value;
      }
    }
  for (int i = 0; i < pixels; i++)
    for (int j = 0; j < vectors; j++) store(to[j] + offset + i * LANES, sum[i][j]);
}

// Network layers one after the other, and the memory they share. Weights are transformed when
// their layer is due, all in one place: that takes a percent of the time for 256x256 pixels, and
// saves four times the network's memory and the question whether they have changed.
class Layers : Series {
  Arena& arena;
  std::vector<Given> given;
  size_t at = 0;
  std::vector<float> plain;
  float* u = nullptr;
  int64_t u_room = 0;

  void make_room(int64_t floats) {
    if (floats > u_room) u = arena.floats(u_room = floats);
  }

 public:
  Layers(Arena& memory, const std::vector<Given>& layers, bool as_half)
      : arena(memory), given(layers) {
    half = as_half;
  }

  const Given& take() { return given[at++]; }

  // out = rectified (in * next layer * factor) + added. What `in` has beyond the layer's inputs
  // is zero.
  void next(const std::vector<Map>& in, const Map& out, float slope, const Map* added = nullptr,
            float factor = 1) {
    const Given& layer = take();
    const int64_t blocks = blocks_of(layer.inputs), inputs = blocks * LANES;
    const float *weight = layer.weight, *bias = layer.bias;
    if (factor != 1 || inputs != layer.inputs) {
      plain.assign((inputs * 9 + 1) * layer.outputs, 0);
      float* scaled = plain.data() + inputs * 9 * layer.outputs;
      for (int64_t o = 0; o < layer.outputs; o++) {
        for (int64_t k = 0; k < layer.inputs * 9; k++)
          plain[o * inputs * 9 + k] = factor * weight[o * layer.inputs * 9 + k];
        scaled[o] = factor * bias[o];
      }
      weight = plain.data();
      bias = scaled;
    }
    make_room(weights_size(blocks, out.blocks));
    transform_weights(weight, inputs, layer.outputs, false, u, half);
    run(arena, in, u, bias, out, slope, added);
  }

  // out = in * (the layer's inputs from `first`, 1x1) + bias, if any, + added, which may be `out`.
  void pointwise(const Given& layer, int64_t first, const std::vector<Map>& in, const Map& out,
                 const float* bias, const Map* added) {
    int64_t blocks = 0;
    for (const Map& each : in) blocks += each.blocks;
    make_room(blocks * out.blocks * LANES * LANES);
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < blocks * LANES; k++)
      for (int64_t o = 0; o < layer.outputs; o++)
        u[weight_place(blocks, out.blocks, o / LANES, k) + o % LANES] =
            layer.weight[o * layer.inputs + first + k];
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < out.count * out.height; row++) {
      const int64_t n = row / out.height, y = row % out.height;
      std::vector<const float*> from;
      for (const Map& each : in)
        for (int64_t block = 0; block < each.blocks; block++)
          from.push_back(each.at(n, block, y, 0));
      for_panels(out.blocks, [&](int64_t panel, auto vectors) {
        constexpr int count = decltype(vectors)::value;
        const float *place = u + panel * blocks * LANES * LANES, *more[count];
        float* to[count];
        for (int j = 0; j < count; j++) {
          to[j] = out.at(n, panel + j, y, 0);
          more[j] = added ? added->at(n, panel + j, y, 0) : nullptr;
        }
        const auto start = [&](int j, int64_t offset) {
          const Vector zero = {}, given = bias ? load(bias + (panel + j) * LANES) : zero;
          return added ? given + load(more[j] + offset) : given;
        };
        int64_t x = 0;
        for (; x + ROWS <= out.width; x += ROWS)
          mix<ROWS, count>(from, x * LANES, place, to, start);
        for (; x + FEW_ROWS <= out.width; x += FEW_ROWS)
          mix<FEW_ROWS, count>(from, x * LANES, place, to, start);
        for (; x < out.width; x++) mix<1, count>(from, x * LANES, place, to, start);
      });
    }
  }
};

// Images (count, channels, height, width), and how many channels their features have.
struct Images {
  const float* pixels;
  int64_t count, channels, height, width, features;
  bool half;  // products of 3x3 convolutions in bfloat16
  Map map(Arena& arena) const { return arena.map(count, blocks_of(features), height, width); }
  // Their map lies in `room`, which has no fewer blocks.
  Map framed(const Map& room) const {
    Map made = room;
    made.blocks = blocks_of(channels);
    made.clear_frame();
    for (int64_t n = 0; n < count; n++)
      fill(made, n, pixels + n * channels * height * width, channels);
    return made;
  }
  void give(const Map& map, float* out) const {
    const int64_t size = features * height * width;
    for (int64_t n = 0; n < count; n++) spill(map, n, out + n * size, features);
  }
};

// out = added + change * gate, where the gate of a channel depends on all channels' means over
// the image (RCAN, section 3.3).
static void attend(const Map& change, const Given& squeeze, const Given& widen, const Map& added,
                   const Map& out) {
  const int64_t channels = squeeze.inputs;
  std::vector<double> means(change.blocks * LANES), hidden(squeeze.outputs);
  std::vector<float> gate(change.blocks * LANES);
  for (int64_t n = 0; n < change.count; n++) {
    std::vector<double> rows(change.height * means.size());
#pragma omp parallel for schedule(static)
    for (int64_t y = 0; y < change.height; y++)
      for (int64_t block = 0; block < change.blocks; block++) {
        Vector sum = {};
        const float* pixel = change.at(n, block, y, 0);
        for (int64_t x = 0; x < change.width; x++) sum += load(pixel + x * LANES);
        for (int lane = 0; lane < LANES; lane++)
          rows[y * means.size() + block * LANES + lane] = sum[lane];
      }
    std::fill(means.begin(), means.end(), 0);
    for (size_t i = 0; i < rows.size(); i++) means[i % means.size()] += rows[i];
    for (double& mean : means) mean /= change.height * change.width;
    for (int64_t o = 0; o < squeeze.outputs; o++) {
      double sum = squeeze.bias[o];
      for (int64_t k = 0; k < channels; k++) sum += means[k] * squeeze.weight[o * channels + k];
      hidden[o] = std::max(sum, 0.);
    }
    for (int64_t o = 0; o < channels; o++) {
      double sum = widen.bias[o];
      for (int64_t k = 0; k < squeeze.outputs; k++)
        sum += hidden[k] * widen.weight[o * squeeze.outputs + k];
      gate[o] = (float)(1 / (1 + std::exp(-sum)));
    }
#pragma omp parallel for schedule(static)
    for (int64_t y = 0; y < change.height; y++)
      for (int64_t block = 0; block < change.blocks; block++) {
        const Vector factor = load(gate.data() + block * LANES);
        const float *from = change.at(n, block, y, 0), *more = added.at(n, block, y, 0);
        float* to = out.at(n, block, y, 0);
        for (int64_t x = 0; x < change.width * LANES; x += LANES)
          store(to + x, load(more + x) + factor * load(from + x));
      }
  }
}

// Residual blocks, conv(relu(conv(x))) * factor + x, or attend(), and a last layer, to whose
// output that of the first layer is added, or with `bare`, where there is none, the input. So EDSR
// is built, and each of RCAN's groups (bare).
static void residual(const Images& images, const std::vector<Given>& given, int64_t blocks,
                     bool bare, bool attention, float factor, float* out) {
  Arena arena;
  Layers layers(arena, given, images.half);
  const Map first = images.map(arena), hidden = images.map(arena), x = images.map(arena);
  if (bare) {
    images.framed(first);
  } else {
    layers.next({images.framed(hidden)}, first, 1);
    hidden.clear_frame();
  }
  Map now = first, change;
  if (attention) change = images.map(arena);
  for (int64_t block = 0; block < blocks; block++, now = x) {
    layers.next({now}, hidden, 0);
    if (attention) {
      layers.next({hidden}, change, 1);
      const Given& squeeze = layers.take();
      attend(change, squeeze, layers.take(), now, x);
    } else {
      layers.next({hidden}, x, 1, &now, factor);
    }
  }
  layers.next({now}, hidden, 1, &first);
  images.give(hidden, out);
}

// RDN (Zhang et al., CVPR 2018): two first layers; dense blocks, whose layers see the block's
// input and all that the block has made, with a 1x1 layer and the input added; a 1x1 layer that
// joins all blocks' outputs, as a running sum; a last layer and the first one's output.
static void dense(const Images& images, const std::vector<Given>& given, int64_t blocks,
                  int64_t depth, float* out) {
  Arena arena;
  Layers layers(arena, given, images.half);
  const Map first = images.map(arena), sum = images.map(arena);
  Map x = images.map(arena), next = images.map(arena);
  const Given& joining = given[given.size() - 2];
  std::vector<Map> made(depth, x);
  for (Map& each : made)
    each = arena.map(images.count, blocks_of(given[2].outputs), images.height, images.width);
  layers.next({images.framed(sum)}, first, 1);
  sum.clear_frame();
  layers.next({first}, x, 1);
  for (int64_t block = 0; block < blocks; block++) {
    std::vector<Map> all{x};
    for (const Map& each : made) {
      layers.next(all, each, 0);
      all.push_back(each);
    }
    const Given& fusion = layers.take();
    layers.pointwise(fusion, 0, all, next, fusion.bias, &x);
    std::swap(x, next);
    layers.pointwise(joining, block * images.features, {x}, sum, block ? nullptr : joining.bias,
                     block ? &sum : nullptr);
  }
  layers.take();
  layers.next({sum}, next, 1, &first);
  images.give(next, out);
}

}  // namespace restore_trunks

static restore_trunks::Images images_of(const restore::Call& call) {
  const int64_t* shape = call.in(0).shape;
  return {call.in(0).floats(), shape[0], shape[1], shape[2], shape[3], call.out(0).shape[1],
          call.is("half")};
}

// The images, then weight and bias of each layer.
static std::vector<restore_trunks::Given> layers_of(const restore::Call& call) {
  std::vector<restore_trunks::Given> layers;
  for (size_t i = 1; i < call.inputs.size(); i += 2)
    layers.push_back({call.in(i).floats(), call.in(i + 1).floats(), call.in(i).shape[0],
                      call.in(i).shape[1]});
  return layers;
}

RESTORE_OPERATOR(residual_trunk) {
  restore_trunks::residual(images_of(call), layers_of(call), call.integer("blocks"),
                           call.is("bare"), call.is("attention"), (float)call.number("factor"),
                           call.out(0).floats());
}

RESTORE_OPERATOR(dense_trunk) {
  restore_trunks::dense(images_of(call), layers_of(call), call.integer("blocks"),
                        call.integer("depth"), call.out(0).floats());
}
