// Chains of residual blocks, conv 3x3, ReLU, conv 3x3, add, on oneDNN's convolutions.

#include <dnnl.hpp>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

namespace {

using namespace dnnl;
using dt = memory::data_type;
using tag = memory::format_tag;

struct TrunkPlan {
  engine eng{engine::kind::cpu, 0};
  stream str{eng};
  memory::dim size;
  memory::desc blocked, plain, weight_plain, bias_desc;
  convolution_forward::primitive_desc relu_pd, sum_pd;
  convolution_forward relu_conv, sum_conv;
  convolution_backward_data::primitive_desc data_pd;
  convolution_backward_weights::primitive_desc weights_pd;
  convolution_backward_data data_conv;
  convolution_backward_weights weights_conv;
  memory scratch, diff_packed, a, b;

  TrunkPlan(int n, int c, int h, int w, bool winograd, bool training) {
    memory::dims dims{n, c, h, w}, wd{c, c, 3, 3};
    size = (memory::dim)n * c * h * w;
    auto layout = (int)get_effective_cpu_isa() >= (int)cpu_isa::avx512_core
        ? tag::nChw16c : tag::nChw8c;
    blocked = memory::desc(dims, dt::f32, layout);
    plain = memory::desc(dims, dt::f32, tag::nchw);
    weight_plain = memory::desc(wd, dt::f32, tag::oihw);
    bias_desc = memory::desc({c}, dt::f32, tag::x);
    memory::desc any(wd, dt::f32, tag::any);
    auto alg = winograd ? algorithm::convolution_winograd : algorithm::convolution_direct;
    auto kind = training ? prop_kind::forward_training : prop_kind::forward_inference;
    convolution_forward::desc d(kind, alg, blocked, any, bias_desc, blocked, {1, 1}, {1, 1},
                                {1, 1});
    primitive_attr relu, sum, bare;
    post_ops with_relu, with_sum;
    with_relu.append_eltwise(1.f, algorithm::eltwise_relu, 0, 0);
    with_sum.append_sum(1.f);
    relu.set_post_ops(with_relu);
    sum.set_post_ops(with_sum);
    for (auto* attr : {&relu, &sum, &bare}) attr->set_scratchpad_mode(scratchpad_mode::user);
    relu_pd = convolution_forward::primitive_desc(d, relu, eng);
    sum_pd = convolution_forward::primitive_desc(d, sum, eng);
    relu_conv = convolution_forward(relu_pd);
    sum_conv = convolution_forward(sum_pd);
    size_t room = std::max(relu_pd.scratchpad_desc().get_size(),
                           sum_pd.scratchpad_desc().get_size());
    if (training) {
      auto direct = algorithm::convolution_direct;
      convolution_forward::primitive_desc hint(
          convolution_forward::desc(prop_kind::forward_training, direct, blocked, any, bias_desc,
                                    blocked, {1, 1}, {1, 1}, {1, 1}), bare, eng);
      data_pd = convolution_backward_data::primitive_desc(
          convolution_backward_data::desc(direct, blocked, any, blocked, {1, 1}, {1, 1}, {1, 1}),
          bare, eng, hint);
      weights_pd = convolution_backward_weights::primitive_desc(
          convolution_backward_weights::desc(direct, blocked, any, bias_desc, blocked, {1, 1},
                                             {1, 1}, {1, 1}), bare, eng, hint);
      data_conv = convolution_backward_data(data_pd);
      weights_conv = convolution_backward_weights(weights_pd);
      room = std::max({room, data_pd.scratchpad_desc().get_size(),
                       weights_pd.scratchpad_desc().get_size()});
      diff_packed = memory(weights_pd.diff_weights_desc(), eng);
    }
    a = memory(blocked, eng);
    b = memory(blocked, eng);
    scratch = memory(memory::desc({(memory::dim)std::max<size_t>(room, 1)}, dt::u8, tag::x), eng);
  }
  memory scratch_for(const memory::desc& d) { return memory(d, eng, scratch.get_data_handle()); }
  memory over(const memory::desc& d, const void* p) { return memory(d, eng, (void*)p); }
  memory pack(const void* w, const memory::desc& to) {
    memory from = over(weight_plain, w), packed(to, eng);
    reorder(from, packed).execute(str, from, packed);
    return packed;
  }
  void reorder_into(memory from, memory to) { reorder(from, to).execute(str, from, to); }
  void forward(memory src, memory dst, const void* w, const void* bias, bool relu) {
    auto& pd = relu ? relu_pd : sum_pd;
    (relu ? relu_conv : sum_conv).execute(str, {
        {DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, pack(w, pd.weights_desc())},
        {DNNL_ARG_BIAS, over(bias_desc, bias)}, {DNNL_ARG_DST, dst},
        {DNNL_ARG_SCRATCHPAD, scratch_for(pd.scratchpad_desc())}});
    str.wait();
  }
  void backward_data(memory diff_dst, memory diff_src, const void* w) {
    data_conv.execute(str, {
        {DNNL_ARG_DIFF_DST, diff_dst}, {DNNL_ARG_WEIGHTS, pack(w, data_pd.weights_desc())},
        {DNNL_ARG_DIFF_SRC, diff_src},
        {DNNL_ARG_SCRATCHPAD, scratch_for(data_pd.scratchpad_desc())}});
    str.wait();
  }
  void backward_weights(memory src, memory diff_dst, void* dw, void* db) {
    weights_conv.execute(str, {
        {DNNL_ARG_SRC, src}, {DNNL_ARG_DIFF_DST, diff_dst},
        {DNNL_ARG_DIFF_WEIGHTS, diff_packed}, {DNNL_ARG_DIFF_BIAS, over(bias_desc, db)},
        {DNNL_ARG_SCRATCHPAD, scratch_for(weights_pd.scratchpad_desc())}});
    reorder_into(diff_packed, over(weight_plain, dw));
    str.wait();
  }
};

// A run uses one tile shape, so a handful of plans is plenty; their buffers must not pile up.
std::shared_ptr<TrunkPlan> trunk_plan(const restore::Array& map, bool winograd, bool training) {
  const int n = map.shape[0], c = map.shape[1], h = map.shape[2], w = map.shape[3];
  static std::map<std::vector<int>, std::shared_ptr<TrunkPlan>> plans;
  std::vector<int> key{n, c, h, w, winograd, training};
  auto found = plans.find(key);
  if (found != plans.end()) return found->second;
  if (plans.size() >= 3) plans.clear();
  std::shared_ptr<TrunkPlan> made;
  try {
    made = std::make_shared<TrunkPlan>(n, c, h, w, winograd, training);
  } catch (const dnnl::error&) {
    if (!winograd) throw;
    made = std::make_shared<TrunkPlan>(n, c, h, w, false, training);
  }
  return plans[key] = made;
}

}  // namespace

// Images; for each block weight and bias of its first layer, then of its second.
RESTORE_OPERATOR(trunk_infer) {
  auto plan = trunk_plan(call.in(0), call.is("winograd"), false);
  int blocks = (int)call.integer("blocks");
  plan->reorder_into(plan->over(plan->plain, call.in(0).data), plan->a);
  for (int r = 0; r < blocks; r++) {
    auto at = [&](int i) { return call.in(1 + 4 * r + i).data; };
    plan->forward(plan->a, plan->b, at(0), at(1), true);
    plan->forward(plan->b, plan->a, at(2), at(3), false);
  }
  plan->reorder_into(plan->a, plan->over(plan->plain, call.out(0).data));
  plan->str.wait();
}

// Maps, their weights, the bias.
RESTORE_OPERATOR(convolution_sum) {
  auto plan = trunk_plan(call.in(0), call.is("winograd"), false);
  int maps = (int)call.integer("maps");
  auto at = [&](int i) { return call.in(i).data; };
  std::vector<float> nothing(call.in(0).shape[1], 0.f);
  std::memset(plan->a.get_data_handle(), 0, plan->size * sizeof(float));
  for (int i = 0; i < maps; i++) {
    plan->reorder_into(plan->over(plan->plain, at(i)), plan->b);
    plan->forward(plan->b, plan->a, at(maps + i), i ? nothing.data() : at(2 * maps), false);
  }
  plan->reorder_into(plan->a, plan->over(plan->plain, call.out(0).data));
  plan->str.wait();
}

// Slot 2r of the second result is block r's input, slot 2r + 1 its hidden activation.
RESTORE_OPERATOR(trunk_forward) {
  auto plan = trunk_plan(call.in(0), false, true);
  int blocks = (int)call.integer("blocks");
  auto slot = [&](int i) {
    return plan->over(plan->blocked, call.out(1).floats() + (size_t)i * plan->size);
  };
  plan->reorder_into(plan->over(plan->plain, call.in(0).data), slot(0));
  for (int r = 0; r < blocks; r++) {
    auto at = [&](int i) { return call.in(1 + 4 * r + i).data; };
    plan->forward(slot(2 * r), slot(2 * r + 1), at(0), at(1), true);
    memory next = r + 1 < blocks ? slot(2 * r + 2) : plan->a;
    std::memcpy(next.get_data_handle(), slot(2 * r).get_data_handle(), plan->size * sizeof(float));
    plan->forward(slot(2 * r + 1), next, at(2), at(3), false);
  }
  plan->reorder_into(plan->a, plan->over(plan->plain, call.out(0).data));
  plan->str.wait();
}

// Gradient of the result, the forward pass's slots, weights; gradients of images, weights, biases.
RESTORE_OPERATOR(trunk_backward) {
  auto plan = trunk_plan(call.in(0), false, true);
  int blocks = (int)call.integer("blocks");
  const size_t c = call.in(0).shape[1], per_weight = c * c * 9;
  float *weights = call.out(1).floats(), *biases = call.out(2).floats();
  const long count = plan->size;
  auto slot = [&](int i) {
    return plan->over(plan->blocked, call.in(1).floats() + (size_t)i * plan->size);
  };
  memory grad = plan->a, hidden = plan->b, change(plan->blocked, plan->eng);
  float* g = (float*)grad.get_data_handle();
  float* d = (float*)hidden.get_data_handle();
  float* e = (float*)change.get_data_handle();
  plan->reorder_into(plan->over(plan->plain, call.in(0).data), grad);
  for (int r = blocks - 1; r >= 0; r--) {
    auto weight = [&](int i) { return call.in(2 + 2 * r + i).data; };
    plan->backward_weights(slot(2 * r + 1), grad, weights + (2 * r + 1) * per_weight,
                           biases + (2 * r + 1) * c);
    plan->backward_data(grad, hidden, weight(1));
    const float* active = (const float*)slot(2 * r + 1).get_data_handle();
    #pragma omp parallel for simd
    for (long i = 0; i < count; i++) d[i] = active[i] > 0 ? d[i] : 0;
    plan->backward_weights(slot(2 * r), hidden, weights + 2 * r * per_weight, biases + 2 * r * c);
    plan->backward_data(hidden, change, weight(0));
    #pragma omp parallel for simd
    for (long i = 0; i < count; i++) g[i] += e[i];
  }
  plan->reorder_into(grad, plan->over(plan->plain, call.out(0).data));
  plan->str.wait();
}
