// A whole U-Net as one function, forward and backward: the denoising field's (N2V and N2V2 forms)
// and LED's. To be read after field_layers.cc and upconv.cc.

namespace restore_unet {

// Maps of a resolution. On the way down: input -> hidden -> skip; on the way up: up (and skip) ->
// hidden_up -> out. The deepest level has only the former.
struct Level {
  Map input, hidden, skip, up, hidden_up, out;
};

// Places the maps from `place` on and returns the floats they need. With `apart` every map has its
// own place. Else, as a pass in one direction wants no more: at a level the hidden maps share one
// place, and so do `input`, `up` and `out`; while deeper levels are at work, only `skip` is kept.
static int64_t lay_out(const Problem& p, bool apart, float* place, std::vector<Level>& levels) {
  float *start = place, *end = place;
  levels.assign(p.depth + 1, Level());
  for (int l = 0; l <= p.depth; l++) {
    Level& level = levels[l];
    auto map = [&](int64_t channels) {
      Map made;
      made.count = p.count;
      made.blocks = channels / LANES;
      made.height = p.height >> l;
      made.width = p.width >> l;
      return made;
    };
    auto put = [&](Map& made) {
      made.data = place;
      place += made.size();
      end = std::max(end, place);
    };
    const bool deepest = l == p.depth;
    const int64_t wide = p.first() << l, narrow = l ? wide / 2 : wide;
    const int64_t given = p.transposed ? wide : narrow;  // to the level above
    level.input = map(l ? narrow : 0);
    level.hidden = map(wide);
    level.skip = map(deepest ? given : wide);
    level.up = map(deepest ? 0 : wide);
    level.hidden_up = map(deepest ? 0 : wide);
    level.out = map(deepest ? 0 : given);
    if (apart) {
      for (Map* each : {&level.hidden, &level.input, &level.skip, &level.up, &level.hidden_up,
                        &level.out})
        put(*each);
      continue;
    }
    // The next level begins where `hidden` does, with the map that it exchanges with this one's
    // `up` (or, where nothing is joined, with `skip` in the same place).
    const bool joins = !deepest && p.joins(l);
    Map &given_up = deepest ? level.skip : level.up, below = level.hidden;
    below.blocks = deepest ? 0 : 2 * wide / LANES;
    below.height /= 2;
    below.width /= 2;
    if (l) put(given_up);
    if (joins) put(level.skip);
    float* next = place;
    put(level.hidden);
    if (!l) {
      place = std::max(place, next + below.size());
      put(given_up);
    }
    if (!deepest && !joins) level.skip.data = level.up.data;
    level.input.data = level.out.data = given_up.data;
    level.hidden_up.data = level.hidden.data;
    place = next;
  }
  return end - start;
}

// Floats of scratch memory: transformed weights, then a share for each thread.
static int64_t working_size(const Problem& p, int threads, bool training, int64_t* weights) {
  *weights = std::max(p.channels * 9 * p.first(), p.last_weights_size());
  int64_t share = Pool::rounded(std::max((p.channels * 9 + 1) * p.first(),
                                         (p.first() + 1) * p.classes()));
  share = std::max(share, PIXELS * LANES);
  for (int l = 0; p.transposed && l < p.depth; l++) {
    const Layer& layer = p.layers[p.up(l)];
    *weights = std::max(*weights, up_weights_size(layer));
    share = std::max(share, up_scratch_size(layer, training));
  }
  for (size_t i = 1; i + 1 < p.layers.size(); i++) {
    const int64_t in = p.layers[i].inputs / LANES, out = p.layers[i].outputs / LANES;
    *weights = std::max(*weights, weights_size(in, out));
    share = std::max(share, scratch_size(in, out, training));
    share = std::max(share, scratch_size(out, in, false));
  }
  *weights = Pool::rounded(*weights);
  return *weights + threads * share;
}

// What a call works in: maps and, for the convolutions, scratch memory.
struct Work {
  const Problem& p;
  int threads;
  float *weights, *scratch;

  void run(int layer, const Map* in, int ins, const Map& out) {
    const Layer& l = p.layers[layer];
    transform_weights(l.weight, l.inputs, l.outputs, false, weights, p.half);
    out.clear_frame();
    convolve(in, ins, weights, l.bias, p.slope, &out, 1, nullptr, scratch, threads, nullptr,
             p.half);
  }
  // Parameters' gradients from `grad`, that of the output; then the inputs' into `to`, if any.
  void back(int layer, const Map* in, int ins, const Map& grad, const Map* to, const Map* mask) {
    const Layer& l = p.layers[layer];
    weight_gradient(in, ins, grad, l.weight_grad, l.bias_grad, scratch, threads);
    transform_weights(l.weight, l.inputs, l.outputs, true, weights);
    for (int i = 0; i < ins; i++) to[i].clear_frame();
    convolve(&grad, 1, weights, nullptr, p.slope, to, ins, mask, scratch, threads);
  }
  // What a level gives to the one above it.
  const Map& given(const std::vector<Level>& levels, int level) const {
    return level == p.depth ? levels[level].skip : levels[level].out;
  }
  void enlarge(const Map& below, int level, const Map& to) {
    to.clear_frame();
    if (!p.transposed) return upsample(below, to);
    const Layer& l = p.layers[p.up(level)];
    pack_up_weights(l, false, weights);
    up_convolve(l, below, weights, to, scratch, threads);
  }
  void enlarge_back(const Map& to_grad, int level, const Map& below, const Map& grad) {
    grad.clear_frame();
    if (!p.transposed) return upsample_gradient(to_grad, below, grad, p.slope);
    const Layer& l = p.layers[p.up(level)];
    up_weight_gradient(l, below, to_grad, scratch, threads);
    pack_up_weights(l, true, weights);
    up_input_gradient(l, to_grad, weights, below, p.slope, grad, scratch, threads);
  }
  // Number of the first convolution on the way up at a level.
  int joining(int level) const { return p.up(level) + p.transposed; }

  void forward(const float* x, const float* image, std::vector<Level>& levels, bool residual,
               float* y) {
    for (int l = 0; l <= p.depth; l++) {
      Level& level = levels[l];
      if (l) {
        level.input.clear_frame();
        (p.n2v2 ? blur_pool : max_pool)(levels[l - 1].skip, level.input);
        run(p.down(l), &level.input, 1, level.hidden);
      } else {
        level.hidden.clear_frame();
        first_layer(p, image, level.hidden, weights);
      }
      run(p.down(l) + 1, &level.hidden, 1, level.skip);
    }
    for (int l = p.depth - 1; l >= 0; l--) {
      Level& level = levels[l];
      enlarge(given(levels, l + 1), l, level.up);
      const Map joined[] = {level.up, level.skip};
      run(joining(l), joined, p.joins(l) ? 2 : 1, level.hidden_up);
      run(joining(l) + 1, &level.hidden_up, 1, level.out);
    }
    last_layer(p, levels[0].out, residual ? x : nullptr, y, weights, scratch, threads);
  }

  void backward(const float* image, const std::vector<Level>& maps, std::vector<Level>& grads,
                const float* output_grad) {
    grads[0].out.clear_frame();
    last_layer_gradient(p, output_grad, maps[0].out, grads[0].out, scratch, threads);
    for (int l = 0; l < p.depth; l++) {
      const Level &map = maps[l], &grad = grads[l];
      back(joining(l) + 1, &map.hidden_up, 1, grad.out, &grad.hidden_up, &map.hidden_up);
      const Map joined[] = {map.up, map.skip}, to[] = {grad.up, grad.skip};
      back(joining(l), joined, p.joins(l) ? 2 : 1, grad.hidden_up, to, nullptr);
      enlarge_back(grad.up, l, given(maps, l + 1), given(grads, l + 1));
    }
    for (int l = p.depth; l >= 0; l--) {
      const Level &map = maps[l], &grad = grads[l];
      if (l < p.depth) {
        if (!p.joins(l)) std::memset(grad.skip.data, 0, grad.skip.size() * sizeof(float));
        (p.n2v2 ? blur_pool_gradient : max_pool_gradient)(map.skip, grads[l + 1].input, grad.skip,
                                                          p.slope);
      }
      back(p.down(l) + 1, &map.hidden, 1, grad.skip, &grad.hidden, &map.hidden);
      if (l) back(p.down(l), &map.input, 1, grad.hidden, &grad.input, nullptr);
      else first_layer_gradient(p, image, grad.hidden, scratch, threads);
    }
  }
};

// Each pass has its own: they need very different amounts, in turns.
static Pool ahead, back, turned;
constexpr int64_t MARGIN = 32;  // floats of a kept buffer in front of what begins on a cache line

// Jittor's memory need not begin on a cache line. The distance to the next one is noted in
// front, because a reader may find the buffer elsewhere.
static float* aligned_start(float* buffer) {
  int64_t distance = 1;
  while ((uintptr_t)(buffer + distance) % 64) distance++;
  buffer[0] = (float)distance;
  return buffer + distance;
}
static float* noted_start(float* buffer) { return buffer + (int64_t)buffer[0]; }

static void require(int64_t floats, int64_t given) {
  if (floats != given) throw std::logic_error("U-Net: a buffer of the wrong size");
}

static Work start(const Problem& p, bool training, Pool& pool, int64_t more) {
  const int threads = available_threads();
  int64_t weights;
  const int64_t working = working_size(p, threads, training, &weights);
  pool.reserve(Pool::rounded(working) + more);
  float* base = pool.take(working);
  return Work{p, threads, base, base + weights};
}

// x -> y without keeping anything.
static void infer(const Problem& p, bool residual, const float* x, float* y) {
  std::vector<Level> levels;
  const int64_t maps = lay_out(p, false, nullptr, levels);
  Work work = start(p, false, ahead, maps + p.image_size());
  lay_out(p, false, ahead.take(maps), levels);
  float* image = ahead.take(p.image_size());
  frame_image(p, x, image);
  work.forward(x, image, levels, residual, y);
}

// x -> y; what `train_backward` needs goes to `saved`: MARGIN, the framed image, all maps.
static void train_forward(const Problem& p, bool residual, const float* x, float* y,
                          float* saved, int64_t saved_size) {
  std::vector<Level> levels;
  require(MARGIN + p.image_size() + lay_out(p, true, nullptr, levels), saved_size);
  Work work = start(p, false, ahead, 0);
  float* image = aligned_start(saved);
  lay_out(p, true, image + p.image_size(), levels);
  frame_image(p, x, image);
  work.forward(x, image, levels, residual, y);
}

// head: MARGIN, then the gradient of the first layer's output, for `head_to_input`.
static void train_backward(const Problem& p, float* saved, const float* output_grad, float* head,
                           int64_t head_size) {
  std::vector<Level> maps, grads;
  float* image = noted_start(saved);
  lay_out(p, true, image + p.image_size(), maps);
  const int64_t size = lay_out(p, false, nullptr, grads);
  Work work = start(p, true, back, size);
  lay_out(p, false, back.take(size), grads);
  require(MARGIN + grads[0].hidden.size(), head_size);
  grads[0].hidden.data = grads[0].hidden_up.data = aligned_start(head);
  work.backward(image, maps, grads, output_grad);
}

static void head_to_input(const Problem& p, float* head, float* input_grad) {
  std::vector<Level> levels;
  lay_out(p, false, nullptr, levels);
  levels[0].hidden.data = noted_start(head);
  turned.reserve(p.channels * 9 * p.first());
  input_gradient(p, levels[0].hidden, turned.take(p.channels * 9 * p.first()), input_grad);
}

}  // namespace restore_unet
