// Networks of 3x3 convolutions told by a list of steps: what they are, and where their maps lie.
// All maps have one blocked layout. To be read after unet_layers.cc and team.cc.

namespace restore_graph {

using namespace restore_winograd;

constexpr int64_t GROUP = 16;   // channels of a map are multiples of this
constexpr int64_t MARGIN = 32;  // floats of a kept buffer in front of what begins on a cache line

enum Kind { CONVOLVE, POOL, ADD, DOUBLE };

// 3x3 convolution, or one transposed that doubles the sides, whose numbers lie somewhere in two
// parameters: `index` tells where for each weight and then each bias, -1 stands for zero.
struct Layer {
  int64_t outputs, inputs, weight, bias, doubles;
  const int32_t* index;
  int uses = 0, first_use = -1;  // steps, and the first of them
  int64_t in() const { return inputs / LANES; }
  int64_t out() const { return outputs / LANES; }
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
      layer = {from[0], from[1], from[2], from[3], from[4], index};
      from += 5;
      index += layer.size() + layer.outputs;
    }
    for (size_t i = 0; i < steps.size(); i++)
      if (steps[i].layer >= 0 && layers[steps[i].layer].uses++ == 0)
        layers[steps[i].layer].first_use = (int)i;
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

// Maps of a forward pass that keeps nothing, of one that keeps all, or their gradients; without
// one map, if any.
static int64_t lay_out(const Graph& g, Purpose purpose, float* base, std::vector<Map>& maps,
                       int without = -1) {
  const int end = (int)g.steps.size();
  std::vector<Span> spans(g.places.size());
  maps.resize(g.places.size());
  for (size_t i = 0; i < spans.size(); i++) {
    maps[i] = g.map((int)i);
    spans[i] = {g.places[i].made, g.places[i].made, maps[i].size(), 0};
    if ((int)i == without) spans[i].size = 0;
  }
  spans.back().last = end;
  for (int s = 0; s < end; s++)
    for (int k = 0; k < g.steps[s].ins; k++) {
      Span& span = spans[g.steps[s].in[k]];
      span.last = std::max(span.last, s);
      // What the missing one is made of is wanted where it would have been.
      if (g.steps[s].in[k] == without) {
        Span& before = spans[g.steps[g.places[without].made].in[0]];
        before.last = std::max(before.last, s);
      }
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
static void fill(const Member& member, const float* from, int64_t channels, int64_t factor,
                 const Map* mask, float slope, const Map& to) {
  const int64_t line = to.width * factor, plane = line * to.height * factor;
  member.clear_frame(to);
  member.share(to.count * to.height, [&](int64_t row) {
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
  });
}

static void spill(const Member& member, const Map& from, int64_t channels, int64_t factor,
                  float* to) {
  const int64_t line = from.width * factor, plane = line * from.height * factor;
  member.share(from.count * from.height, [&](int64_t row) {
    const int64_t n = row / from.height, y = row % from.height;
    for (int64_t c = 0; c < channels * factor * factor; c++) {
      const int64_t phase = c / channels;
      const float* pixel = from.at(n, c / LANES, y, 0) + c % LANES;
      float* target = to + (n * channels + c % channels) * plane +
                      (y * factor + phase / factor) * line + phase % factor;
      for (int64_t x = 0; x < from.width; x++) target[x * factor] = pixel[x * LANES];
    }
  });
}

}  // namespace restore_graph
