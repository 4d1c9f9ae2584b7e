// Networks of 3x3 convolutions told by a list of steps: their passes, forward and backward. To be
// read after merging.cc and weight_sums.cc.

#include <memory>

namespace restore_graph {

using restore_unet::Square;

// Each pass has its own: they need very different amounts, in turns.
static restore_blocked::Pool ahead, back;

// What a pass works in.
struct Work {
  const Graph& g;
  const std::vector<const float*>& parameters;
  bool half = false;  // products in bfloat16
  bool to_input = false, to_parameters = false;  // what a backward pass is for
  int threads = available_threads();
  int64_t working = 0;  // floats of scratch memory for each thread
  float* scratch = nullptr;
  std::vector<float*> weights, biases, sums;

  bool is_backward() const { return to_input || to_parameters; }

  // Sums of the gradients of a layer's weights, then of its bias; and how many of these.
  static int64_t sums_size(const Layer& layer) {
    return weights_size(layer.in(), layer.out()) + Pool::rounded(layer.outputs);
  }
  int copies(const Layer& layer) const {
    return has_own_sums(layer.in(), layer.out()) ? threads : 1;
  }

  // Takes memory; `more` floats beside its own, which it returns. least: floats of scratch memory.
  float* begin(int64_t more, int64_t least = 0) {
    int64_t shared = 0, kept = 0, once = 0;
    working = least;
    for (const Layer& layer : g.layers) {
      const int64_t in = layer.in(), out = layer.out();
      const int64_t points = layer.doubles ? DOUBLED_POINTS : POINTS;
      working = std::max(working, layer.doubles ? doubled_scratch_size(in, out)
                                                : std::max(scratch_size(in, out, false),
                                                           scratch_size(out, in, false)));
      kept += weights_size(in, out);
      if (!to_parameters) {
        kept += Pool::rounded(layer.outputs);
      } else if (layer.uses > 1) {
        kept += copies(layer) * sums_size(layer);
      } else {
        once = std::max(once, copies(layer) * sums_size(layer));
      }
      if (to_parameters && copies(layer) > 1)
        working = std::max(working, own_batch_size(points, in, out));
      else if (to_parameters)
        shared = std::max(shared, batch_size(points, in, out, threads));
    }
    shared = std::max(shared, threads * working);
    Pool& pool = is_backward() ? back : ahead;
    pool.reserve(Pool::rounded(more) + kept + once + shared);
    float *made = pool.take(more), *sums_once = pool.take(once);
    for (const Layer& layer : g.layers) {
      const int64_t size = weights_size(layer.in(), layer.out());
      weights.push_back(pool.take(size));
      if (to_parameters) {
        sums.push_back(layer.uses > 1 ? pool.take(copies(layer) * sums_size(layer)) : sums_once);
        continue;
      }
      biases.push_back(pool.take(layer.outputs));
      for (int64_t i = 0; i < layer.outputs; i++) {
        const int32_t place = layer.index[layer.size() + i];
        biases.back()[i] = place < 0 ? 0 : parameters[layer.bias][place];
      }
    }
    scratch = pool.take(shared);
    return made;
  }

  float* own(const Member& member) const { return scratch + member.me * working; }

  // A member's part of the transforms of all weights.
  void transform(const Member& member) const {
    for (size_t i = 0; i < g.layers.size(); i++)
      if (is_backward()) transform<Single>(member, g.layers[i], true, weights[i]);
      else with_form(half, [&](auto form) {
        transform<decltype(form)>(member, g.layers[i], false, weights[i]);
      });
  }

  // Blocks of a layer's inputs whose gradients are wanted: all but the image's.
  int64_t wanted(const Layer& layer) const {
    const Step& s = g.steps[layer.first_use];
    if (to_input || (s.in[0] != 0 && s.in[s.ins - 1] != 0)) return layer.in();
    return s.ins > 1 ? g.map(s.in[0]).blocks : 0;
  }

  // Weights as `transform_weights` makes them.
  template <class Form>
  void transform(const Member& member, const Layer& layer, bool backward, float* to) const {
    const int64_t from_blocks = backward ? layer.out() : layer.in();
    const int64_t to_blocks = backward ? wanted(layer) : layer.out();
    const int64_t step = from_blocks * to_blocks * Form::WORDS * LANES;
    const float* given = parameters[layer.weight];
    member.share(from_blocks * Form::WORDS, [&](int64_t word) {
      for (int64_t block = 0; block < to_blocks; block++) {
        Vector u[Form::DEPTH][6][6];
        for (int k = 0; k < Form::DEPTH; k++) {
          Vector g[3][3];
          for (int lane = 0; lane < LANES; lane++) {
            const int64_t one = word * Form::DEPTH + k, other = block * LANES + lane;
            const int32_t* place =
                layer.index + 9 * (backward ? one * layer.inputs + other
                                            : other * layer.inputs + one);
            for (int tap = 0; tap < 9; tap++) {
              const int32_t from = place[backward ? 8 - tap : tap];
              g[tap / 3][tap % 3][lane] = from < 0 ? 0 : given[from];
            }
          }
          if (layer.doubles) both_ways<3, 6, spread_doubled_weight>(g, u[k]);
          else both_ways<3, 6, spread_weight>(g, u[k]);
        }
        float* place = to + weight_place(from_blocks, to_blocks, block, word, Form::WORDS);
        for (int p = 0; p < POINTS; p++) {
          Vector both[Form::DEPTH];
          for (int k = 0; k < Form::DEPTH; k++) both[k] = u[k][p / 6][p % 6];
          Form::put_weights(place + p * step, both);
        }
      }
    });
  }

  // Each member's part of the forward pass; weights are transformed.
  template <class Form>
  void forward(const Member& member, const float* x, const std::vector<Map>& maps, float* y,
               const Merged* merged = nullptr) const {
    fill(member, x, g.in_channels, g.in_factor, nullptr, 1, maps[0]);
    for (const Step& s : g.steps) {
      if (merged && &s == &merged->doubling) continue;
      const Map& out = maps[s.out];
      const Map in[2] = {maps[s.in[0]], maps[s.in[1]]};
      member.wait();
      member.clear_frame(out);
      if (merged && &s == &merged->joining) {
        const Map& small = maps[merged->doubling.in[0]];
        const int up = merged->doubling.layer;
        merged->inside<Form>(member, small, out, own(member));
        member.wait();
        merged->around<Form>(member, small, maps[0], out, weights[up], biases[up],
                             weights[s.layer], biases[s.layer], own(member));
      } else if (s.kind == CONVOLVE) {
        convolve_part<Form>(member, in, s.ins, weights[s.layer], biases[s.layer], s.slope, &out, 1,
                            nullptr, own(member), nullptr);
      } else if (s.kind == DOUBLE) {
        doubled_convolve<Form>(member, in[0], weights[s.layer], biases[s.layer], out,
                               own(member));
      } else if (s.kind == POOL) {
        member.rows(out, [&](int64_t n, int64_t block, int64_t y) {
          for (int64_t x = 0; x < out.width; x++)
            store(out.at(n, block, y, x),
                  Square{in[0].at(n, block, 2 * y, 2 * x), in[0].stride()}.largest());
        });
      } else {
        member.rows(out, [&](int64_t n, int64_t block, int64_t y) {
          for (int64_t x = 0; x < out.width; x++)
            store(out.at(n, block, y, x),
                  load(in[0].at(n, block, y, x)) + load(in[1].at(n, block, y, x)));
        });
      }
    }
    member.wait();
    spill(member, maps[g.last()], g.out_channels, g.out_factor, y);
  }

  // The gradient of a map is kept as it is before the map's activation; whoever makes a part of it
  // takes that through the activation, and adds it to the parts that are there.
  void backward(const Member& member, const std::vector<Map>& maps, const std::vector<Map>& grads,
                const float* y_grad, const std::vector<float*>& parameter_grads) const {
    std::vector<bool> there(maps.size(), false), begun(g.layers.size(), false);
    const float slope = g.places[g.last()].slope;
    fill(member, y_grad, g.out_channels, g.out_factor, slope == 1 ? nullptr : &maps[g.last()],
         slope, grads[g.last()]);
    for (int i = (int)g.steps.size() - 1; i >= 0; i--) {
      const Step& s = g.steps[i];
      const Map in[2] = {maps[s.in[0]], maps[s.in[1]]}, to[2] = {grads[s.in[0]], grads[s.in[1]]};
      const Map& grad = grads[s.out];
      const float slope = g.places[s.in[0]].slope;
      const bool known = there[s.in[0]];
      member.wait();
      for (int k = 0; k < s.ins; k++)
        if (!there[s.in[k]]) member.clear_frame(to[k]);
      if (s.layer >= 0 && to_parameters) {
        if (g.layers[s.layer].doubles)
          parameter_gradient<Doubled>(member, i, in, grad, !begun[s.layer], parameter_grads);
        else
          parameter_gradient<Plain>(member, i, in, grad, !begun[s.layer], parameter_grads);
        begun[s.layer] = true;
      }
      if (s.kind == CONVOLVE) {
        const int64_t blocks = wanted(g.layers[s.layer]);
        const int outs = blocks == g.layers[s.layer].in() ? s.ins : 1;
        if (blocks)
          convolve_part<Single>(member, &grad, 1, weights[s.layer], nullptr, slope, to, outs,
                                slope == 1 ? nullptr : in, own(member), known ? to : nullptr);
      } else if (s.kind == DOUBLE) {
        doubled_gradient(member, grad, weights[s.layer], in[0], slope, known ? to : nullptr, to[0],
                         own(member));
      } else if (s.kind == POOL) {
        pool_gradient(member, in[0], grad, known, slope, to[0]);
      } else {
        for (int k = 0; k < 2; k++) {
          const float slope = g.places[s.in[k]].slope;
          const bool add = there[s.in[k]];
          member.rows(grad, [&](int64_t n, int64_t block, int64_t y) {
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
    member.wait();
  }

  // What comes through a pooling, through the activation before it.
  static void pool_gradient(const Member& member, const Map& in, const Map& out_grad, bool add,
                            float slope, const Map& grad) {
    member.rows(out_grad, [&](int64_t n, int64_t block, int64_t y) {
      for (int64_t x = 0; x < out_grad.width; x++) {
        const Square square{in.at(n, block, 2 * y, 2 * x), in.stride()};
        float* place = grad.at(n, block, 2 * y, 2 * x);
        Vector sum[4] = {};
        for (int k = 0; add && k < 4; k++)
          sum[k] = load(place + k / 2 * square.line + k % 2 * LANES);
        square.give(load(out_grad.at(n, block, y, x)), sum);
        for (int k = 0; k < 4; k++)
          store(place + k / 2 * square.line + k % 2 * LANES,
                rectify_gradient(load(square.at(k)), sum[k], slope));
      }
    });
  }

  // A member's part of what a step adds to the sums of its layer, and after the last one of the
  // parameters' gradients.
  template <class Shape>
  void parameter_gradient(const Member& member, int number, const Map* in, const Map& grad,
                          bool fresh, const std::vector<float*>& grads) const {
    const Step& s = g.steps[number];
    const Layer& layer = g.layers[s.layer];
    const int64_t size = weights_size(layer.in(), layer.out()), all = sums_size(layer);
    const int parts = copies(layer) > 1 ? member.all : 1;
    float* all_biases = sums[s.layer] + copies(layer) * size;
    const int64_t biases_step = all - size;
    if (copies(layer) > 1) {
      add_own_gradient<Shape>(member, in, s.ins, layer.in(), grad, fresh,
                              sums[s.layer] + member.me * size,
                              all_biases + member.me * biases_step, own(member));
      if (number == layer.first_use) member.wait();
    } else {
      add_shared_gradient<Shape>(member, in, s.ins, layer.in(), grad, fresh, sums[s.layer],
                                 all_biases, scratch);
    }
    if (number != layer.first_use) return;
    float *weight = grads[layer.weight], *offset = grads[layer.bias];
    put_weight_gradient<Shape>(member, sums[s.layer], parts, layer.inputs, layer.outputs,
                               [&](int64_t output, int64_t input, int tap, float value) {
      const int32_t place = layer.index[(output * layer.inputs + input) * 9 + tap];
      if (place >= 0) weight[place] += value;
    });
    for (int64_t k = 0; member.me == 0 && k < layer.outputs; k++) {
      const int32_t place = layer.index[layer.size() + k];
      for (int part = 0; place >= 0 && part < parts; part++)
        offset[place] += all_biases[part * biases_step + k];
    }
  }

  // What a backward pass takes for granted.
  void check() const {
    std::vector<bool> there(g.places.size(), false);
    for (int i = (int)g.steps.size() - 1; i >= 0; i--) {
      const Step& s = g.steps[i];
      for (int k = 0; k < s.ins; k++) {
        if (s.kind == CONVOLVE && s.ins > 1 && (there[s.in[k]] || g.places[s.in[k]].slope != 1))
          throw std::logic_error("joined maps have no activation and no later use");
        there[s.in[k]] = true;
      }
    }
  }
};

// With `merging`, one pair of layers is computed as merging.cc says, if there is such a pair.
static void infer(const Graph& g, const std::vector<const float*>& parameters, const float* x,
                  float* y, bool half, bool merging) {
  std::vector<Map> maps;
  const int step = merging ? merging_step(g) : -1, without = step < 0 ? -1 : g.steps[step].out;
  std::unique_ptr<Merged> merged(step < 0 ? nullptr : new Merged(g, parameters, step));
  const int64_t floats = Pool::rounded(lay_out(g, PASSING, nullptr, maps, without));
  Work work{g, parameters, half};
  float* base = work.begin(floats + (merged ? merged->place(nullptr) : 0),
                           merged ? scratch_size(merged->in_blocks, merged->out_blocks, false) : 0);
  lay_out(g, PASSING, base, maps, without);
  if (merged) merged->place(base + floats);
  with_form(half, [&](auto form) {
    typedef decltype(form) Form;
    together(work.threads, [&](const Member& member) {
      work.transform(member);
      if (merged) {
        fill(member, x, g.in_channels, 2, nullptr, 1, merged->squares);
        merged->pack(member);
        member.wait();
        merged->compose<Form>(member);
      }
      work.forward<Form>(member, x, maps, y, merged.get());
    });
  });
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
  work.begin(0);
  together(work.threads, [&](const Member& member) {
    work.transform(member);
    work.forward<Single>(member, x, maps, y);
  });
}

// Either the gradient of the image, or those of the parameters, which hold zeros.
static void train_backward(const Graph& g, const std::vector<const float*>& parameters,
                           const float* saved, const float* y_grad, float* x_grad,
                           const std::vector<float*>& parameter_grads) {
  std::vector<Map> maps, grads;
  lay_out(g, KEPT, (float*)saved + (int64_t)saved[0], maps);
  Work work{g, parameters, false, x_grad != nullptr, x_grad == nullptr};
  work.check();
  lay_out(g, GRADIENTS, work.begin(lay_out(g, GRADIENTS, nullptr, grads)), grads);
  together(work.threads, [&](const Member& member) {
    work.transform(member);
    work.backward(member, maps, grads, y_grad, parameter_grads);
    if (x_grad) spill(member, grads[0], g.in_channels, g.in_factor, x_grad);
  });
}

}  // namespace restore_graph

namespace {

restore_graph::Graph graph_of(const restore::Call& call, const restore::Array& image) {
  const float slopes[] = {1, 0, (float)call.number("slope")};
  return {call.in(0).integers(), call.in(1).integers(), slopes, image.shape[0], image.shape[2],
          image.shape[3]};
}

std::vector<const float*> floats_from(const restore::Call& call, size_t first) {
  std::vector<const float*> found;
  for (size_t i = first; i < call.inputs.size(); i++) found.push_back(call.in(i).floats());
  return found;
}

}  // namespace

// Inputs of all: the graph, its index; then the image, or what the forward pass kept and the
// gradient of the output; then weight and bias of each layer.
RESTORE_OPERATOR(graph_infer) {
  restore_graph::infer(graph_of(call, call.in(2)), floats_from(call, 3), call.in(2).floats(),
                       call.out(0).floats(), call.is("half"), call.is("merging"));
}

RESTORE_OPERATOR(graph_forward) {
  restore_graph::train_forward(graph_of(call, call.in(2)), floats_from(call, 3),
                               call.in(2).floats(), call.out(0).floats(), call.out(1).floats(),
                               call.out(1).shape[0]);
}

RESTORE_OPERATOR(graph_input_gradient) {
  restore_graph::train_backward(graph_of(call, call.out(0)), floats_from(call, 4),
                                call.in(2).floats(), call.in(3).floats(), call.out(0).floats(),
                                {});
}

RESTORE_OPERATOR(graph_gradients) {
  std::vector<float*> grads;
  for (const restore::Array& one : call.outputs) {
    grads.push_back(one.floats());
    std::memset(one.data, 0, one.bytes);
  }
  restore::Array image = call.in(3);  // its sides are the output's
  restore_graph::train_backward(graph_of(call, image), floats_from(call, 4), call.in(2).floats(),
                                call.in(3).floats(), nullptr, grads);
}
