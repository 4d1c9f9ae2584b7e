// Networks of 3x3 convolutions told by a list of steps, forward and backward. All maps stay in one
// blocked layout. To be read after unet_layers.cc.

namespace restore_graph {

using namespace restore_winograd;
using restore_unet::for_rows;

constexpr int64_t GROUP = 16;   // channels of a map are multiples of this
constexpr int64_t MARGIN = 32;  // floats of a kept buffer in front of what begins on a cache line

enum Kind { CONVOLVE, POOL, ADD, SHUFFLE };

// Plain 3x3 convolution whose numbers lie somewhere in two parameters: `index` tells where for
// each weight and then each bias, -1 stands for zero.
struct Layer {
  int64_t outputs, inputs, weight, bias;
  const int32_t* index;
  int64_t size() const { return outputs * inputs * 9; }
};

struct Step {
  int kind, layer, out, ins, in[2];
  float slope;  // of the activation below zero, 1 for none
};

// A map: groups of channels, how often the image's sides are halved, where it is made (-1: given),
// and the slope of its activation.
struct Place {
  int64_t groups, shift;
  int made = -1;
  float slope = 1;
};

// As Python writes it: counts; how many pixels of the image a side of the first map's pixels
// stands for, and channels of the image; the same of the last map and the output; maps; steps;
// layers.
struct Graph {
  int64_t count, height, width, in_factor, in_channels, out_factor, out_channels;
  std::vector<Place> places;
  std::vector<Step> steps;
  std::vector<Layer> layers;

  Graph(const int32_t* from, const int32_t* index, const float* slopes, int64_t images,
        int64_t rows, int64_t columns)
      : count(images), height(rows), width(columns) {
    places.resize(*from++);
    steps.resize(*from++);
    layers.resize(*from++);
    in_factor = *from++;
    in_channels = *from++;
    out_factor = *from++;
    out_channels = *from++;
    for (Place& place : places) {
      place.groups = *from++;
      place.shift = *from++;
    }
    for (size_t i = 0; i < steps.size(); i++) {
      Step& s = steps[i];
      s.kind = *from++;
      s.layer = *from++;
      s.out = *from++;
      s.ins = *from++;
      s.in[0] = *from++;
      s.in[1] = *from++;
      s.slope = slopes[*from++];
      places[s.out].made = (int)i;
      places[s.out].slope = s.slope;
    }
    for (Layer& layer : layers) {
      layer = {from[0], from[1], from[2], from[3], index};
      from += 4;
      index += layer.size() + layer.outputs;
    }
  }
  Map map(int i) const {
    Map made;
    made.count = count;
    made.blocks = places[i].groups * GROUP / LANES;
    made.height = height >> places[i].shift;
    made.width = width >> places[i].shift;
    return made;
  }
  int last() const { return (int)places.size() - 1; }
};

// When a map is in use, in steps, and where it lies.
struct Span {
  int first, last;
  int64_t size, place;
};

// Finds places so that maps in use at the same time lie apart; returns the floats of all.
static int64_t arrange(std::vector<Span>& spans) {
  std::vector<Span*> order;
  for (Span& span : spans) order.push_back(&span);
  std::stable_sort(order.begin(), order.end(),
                   [](const Span* a, const Span* b) { return a->first < b->first; });
  int64_t end = 0;
  for (size_t i = 0; i < order.size(); i++) {
    std::vector<const Span*> others;
    for (size_t k = 0; k < i; k++)
      if (order[k]->last >= order[i]->first) others.push_back(order[k]);
    std::sort(others.begin(), others.end(),
              [](const Span* a, const Span* b) { return a->place < b->place; });
    int64_t place = 0;
    for (const Span* other : others) {
      if (place + order[i]->size <= other->place) break;
      place = std::max(place, other->place + other->size);
    }
    order[i]->place = place;
    end = std::max(end, place + order[i]->size);
  }
  return end;
}

enum Purpose { PASSING, KEPT, GRADIENTS };

// Maps of a forward pass that keeps nothing, of one that keeps all, or their gradients.
static int64_t lay_out(const Graph& g, Purpose purpose, float* base, std::vector<Map>& maps) {
  const int end = (int)g.steps.size();
  std::vector<Span> spans(g.places.size());
  maps.resize(g.places.size());
  for (size_t i = 0; i < spans.size(); i++) {
    maps[i] = g.map((int)i);
    spans[i] = {g.places[i].made, g.places[i].made, maps[i].size(), 0};
  }
  spans.back().last = end;
  for (int s = 0; s < end; s++)
    for (int k = 0; k < g.steps[s].ins; k++) {
      Span& span = spans[g.steps[s].in[k]];
      span.last = std::max(span.last, s);
    }
  for (Span& span : spans) {
    if (purpose == KEPT) span = {0, end, span.size, 0};
    if (purpose == GRADIENTS) span = {end - span.last, end - span.first, span.size, 0};
  }
  if (purpose == GRADIENTS) spans.front().last = end + 1;
  const int64_t floats = arrange(spans);
  for (size_t i = 0; i < spans.size(); i++) maps[i].data = base + spans[i].place;
  return floats;
}

// An image's pixels, `factor` x `factor` of them side by side in the channels, and back. A mask
// takes what is filled in through the gradient of its activation.
static void fill(const float* from, int64_t channels, int64_t factor, const Map* mask, float slope,
                 const Map& to) {
  const int64_t line = to.width * factor, plane = line * to.height * factor;
  to.clear_frame();
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < to.count * to.height; row++) {
    const int64_t n = row / to.height, y = row % to.height;
    for (int64_t block = 0; block < to.blocks; block++) {
      float* pixel = to.at(n, block, y, 0);
      std::memset(pixel, 0, to.width * LANES * sizeof(float));
      for (int64_t lane = 0; lane < LANES; lane++) {
        const int64_t c = block * LANES + lane, phase = c / channels;
        if (phase >= factor * factor) break;
        const float* source = from + (n * channels + c % channels) * plane +
                              (y * factor + phase / factor) * line + phase % factor;
        for (int64_t x = 0; x < to.width; x++) pixel[x * LANES + lane] = source[x * factor];
      }
      for (int64_t x = 0; mask && x < to.width; x++)
        store(pixel + x * LANES, rectify_gradient(load(mask->at(n, block, y, x)),
                                                  load(pixel + x * LANES), slope));
    }
  }
}

static void spill(const Map& from, int64_t channels, int64_t factor, float* to) {
  const int64_t line = from.width * factor, plane = line * from.height * factor;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < from.count * from.height; row++) {
    const int64_t n = row / from.height, y = row % from.height;
    for (int64_t c = 0; c < channels * factor * factor; c++) {
      const int64_t phase = c / channels;
      const float* pixel = from.at(n, c / LANES, y, 0) + c % LANES;
      float* target = to + (n * channels + c % channels) * plane +
                      (y * factor + phase / factor) * line + phase % factor;
      for (int64_t x = 0; x < from.width; x++) target[x * factor] = pixel[x * LANES];
    }
  }
}

// A quarter of the channels after the other goes to one place of each square of 2x2, or back.
static void shuffle(const Map& small, const Map& large, bool back) {
  for_rows(large, [&](int64_t n, int64_t block, int64_t y) {
    for (int side = 0; side < 2; side++) {
      float* one = small.at(n, (y % 2 * 2 + side) * large.blocks + block, y / 2, 0);
      float* other = large.at(n, block, y, side);
      for (int64_t x = 0; x < small.width; x++, one += LANES, other += 2 * LANES)
        back ? store(one, load(other)) : store(other, load(one));
    }
  });
}

static restore_blocked::Pool pool;

// What a pass works in.
struct Work {
  const Graph& g;
  const std::vector<const float*>& parameters;
  bool half = false;  // products in bfloat16
  int threads = available_threads();
  float *plain = nullptr, *scratch = nullptr;
  std::vector<float*> weights, biases;

  // Takes `more` floats beside its own; returns them.
  float* begin(bool backward, int64_t more) {
    int64_t share = 0, widest = 0, kept = 0;
    for (const Layer& layer : g.layers) {
      const int64_t in = layer.inputs / LANES, out = layer.outputs / LANES;
      share = std::max(share, scratch_size(in, out, backward));
      if (backward) share = std::max(share, scratch_size(out, in, false));
      widest = std::max(widest, layer.size() + layer.outputs);
      kept += weights_size(in, out) + Pool::rounded(layer.outputs);
    }
    pool.reserve(Pool::rounded(more) + kept + Pool::rounded(widest) + threads * share);
    float* made = pool.take(more);
    plain = pool.take(widest);
    for (const Layer& layer : g.layers) {
      const float *weight = parameters[layer.weight], *bias = parameters[layer.bias];
      for (int64_t i = 0; i < layer.size(); i++)
        plain[i] = layer.index[i] < 0 ? 0 : weight[layer.index[i]];
      weights.push_back(pool.take(weights_size(layer.inputs / LANES, layer.outputs / LANES)));
      transform_weights(plain, layer.inputs, layer.outputs, backward, weights.back(), half);
      biases.push_back(pool.take(layer.outputs));
      for (int64_t i = 0; i < layer.outputs; i++) {
        const int32_t place = layer.index[layer.size() + i];
        biases.back()[i] = place < 0 || backward ? 0 : bias[place];
      }
    }
    scratch = pool.take(threads * share);
    return made;
  }

  void forward(const float* x, const std::vector<Map>& maps, float* y) {
    fill(x, g.in_channels, g.in_factor, nullptr, 1, maps[0]);
    for (const Step& s : g.steps) {
      const Map& out = maps[s.out];
      const Map in[2] = {maps[s.in[0]], maps[s.in[1]]};
      out.clear_frame();
      if (s.kind == CONVOLVE) {
        convolve(in, s.ins, weights[s.layer], biases[s.layer], s.slope, &out, 1, nullptr, scratch,
                 threads, nullptr, half);
      } else if (s.kind == POOL) {
        restore_unet::max_pool(in[0], out);
      } else if (s.kind == SHUFFLE) {
        shuffle(in[0], out, false);
      } else {
        for_rows(out, [&](int64_t n, int64_t block, int64_t y) {
          for (int64_t x = 0; x < out.width; x++)
            store(out.at(n, block, y, x),
                  load(in[0].at(n, block, y, x)) + load(in[1].at(n, block, y, x)));
        });
      }
    }
    spill(maps[g.last()], g.out_channels, g.out_factor, y);
  }

  // The gradient of a map is kept as it is before the map's activation; whoever makes a part of it
  // takes that through the activation, and adds it to the parts that are there.
  void backward(const std::vector<Map>& maps, const std::vector<Map>& grads, const float* y_grad,
                const std::vector<float*>& parameter_grads) {
    std::vector<bool> there(maps.size(), false);
    const float slope = g.places[g.last()].slope;
    fill(y_grad, g.out_channels, g.out_factor, slope == 1 ? nullptr : &maps[g.last()], slope,
         grads[g.last()]);
    for (int i = (int)g.steps.size() - 1; i >= 0; i--) {
      const Step& s = g.steps[i];
      const Map in[2] = {maps[s.in[0]], maps[s.in[1]]}, to[2] = {grads[s.in[0]], grads[s.in[1]]};
      const Map& grad = grads[s.out];
      const float own = g.places[s.in[0]].slope;
      for (int k = 0; k < s.ins; k++)
        if (!there[s.in[k]]) to[k].clear_frame();
      if (s.kind == CONVOLVE) {
        const bool known = there[s.in[0]];
        if (s.ins > 1 && (known || there[s.in[1]] || own != 1 || g.places[s.in[1]].slope != 1))
          throw std::logic_error("joined maps have one use and no activation");
        layer_gradient(g.layers[s.layer], in, s.ins, grad, parameter_grads);
        convolve(&grad, 1, weights[s.layer], nullptr, own, to, s.ins, own == 1 ? nullptr : in,
                 scratch, threads, known ? to : nullptr);
      } else if (s.kind == POOL) {
        if (!there[s.in[0]]) std::memset(to[0].data, 0, to[0].size() * sizeof(float));
        restore_unet::max_pool_gradient(in[0], grad, to[0], own);
      } else if (s.kind == SHUFFLE) {
        shuffle(to[0], grad, true);
      } else {
        for (int k = 0; k < 2; k++) {
          const float slope = g.places[s.in[k]].slope;
          const bool add = there[s.in[k]];
          for_rows(grad, [&](int64_t n, int64_t block, int64_t y) {
            for (int64_t x = 0; x < grad.width; x++) {
              float* place = to[k].at(n, block, y, x);
              const Vector value = rectify_gradient(load(in[k].at(n, block, y, x)),
                                                    load(grad.at(n, block, y, x)), slope);
              store(place, add ? load(place) + value : value);
            }
          });
        }
      }
      for (int k = 0; k < s.ins; k++) there[s.in[k]] = true;
    }
  }

  void layer_gradient(const Layer& layer, const Map* in, int ins, const Map& grad,
                      const std::vector<float*>& parameter_grads) {
    float* bias = plain + layer.size();
    weight_gradient(in, ins, grad, plain, bias, scratch, threads);
    for (int64_t i = 0; i < layer.size() + layer.outputs; i++) {
      const bool weighs = i < layer.size();
      if (layer.index[i] >= 0)
        parameter_grads[weighs ? layer.weight : layer.bias][layer.index[i]] += plain[i];
    }
  }
};

static void infer(const Graph& g, const std::vector<const float*>& parameters, const float* x,
                  float* y, bool half) {
  std::vector<Map> maps;
  Work work{g, parameters, half};
  lay_out(g, PASSING, work.begin(false, lay_out(g, PASSING, nullptr, maps)), maps);
  work.forward(x, maps, y);
}

// saved: MARGIN, then all maps. The distance to the cache line where they begin is noted in front.
static void train_forward(const Graph& g, const std::vector<const float*>& parameters,
                          const float* x, float* y, float* saved, int64_t saved_size) {
  std::vector<Map> maps;
  int64_t distance = 1;
  while ((uintptr_t)(saved + distance) % 64) distance++;
  saved[0] = (float)distance;
  if (lay_out(g, KEPT, saved + distance, maps) + MARGIN != saved_size)
    throw std::logic_error("a buffer of the wrong size");
  Work work{g, parameters};
  work.begin(false, 0);
  work.forward(x, maps, y);
}

static void train_backward(const Graph& g, const std::vector<const float*>& parameters,
                           float* saved, const float* y_grad, float* x_grad,
                           const std::vector<float*>& parameter_grads) {
  std::vector<Map> maps, grads;
  lay_out(g, KEPT, saved + (int64_t)saved[0], maps);
  Work work{g, parameters};
  lay_out(g, GRADIENTS, work.begin(true, lay_out(g, GRADIENTS, nullptr, grads)), grads);
  work.backward(maps, grads, y_grad, parameter_grads);
  spill(grads[0], g.in_channels, g.in_factor, x_grad);
}

}  // namespace restore_graph
