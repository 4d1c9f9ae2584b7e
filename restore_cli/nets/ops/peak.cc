// How fast oneDNN convolves.

#include <dnnl.hpp>

#include <algorithm>
#include <chrono>

namespace restore_peak {

using namespace dnnl;
using dt = memory::data_type;
using tag = memory::format_tag;

// Least seconds of one convolution, layouts as oneDNN likes them best; 0 where it has none.
inline double least_seconds(int c, int h, int w, bool winograd, int repeat) {
  engine eng(engine::kind::cpu, 0);
  stream str(eng);
  memory::dims map{1, c, h, w}, one{1, 1};
  auto any = [](memory::dims dims) { return memory::desc(dims, dt::f32, tag::any); };
  convolution_forward::primitive_desc pd;
  try {
    pd = convolution_forward::primitive_desc(
        convolution_forward::desc(prop_kind::forward_inference,
            winograd ? algorithm::convolution_winograd : algorithm::convolution_direct,
            any(map), any({c, c, 3, 3}), memory::desc({c}, dt::f32, tag::x), any(map),
            one, one, one), eng);
  } catch (const dnnl::error&) {
    return 0;
  }
  auto filled = [&](const memory::desc& desc, float value) {
    memory made(desc, eng);
    std::fill_n((float*)made.get_data_handle(), desc.get_size() / sizeof(float), value);
    return made;
  };
  memory src = filled(pd.src_desc(), 0.5f), weights = filled(pd.weights_desc(), 1e-3f);
  memory bias = filled(pd.bias_desc(), 0.f), dst = filled(pd.dst_desc(), 0.f);
  convolution_forward work(pd);
  double least = 1e30;
  for (int i = 0; i <= repeat; i++) {
    auto begin = std::chrono::steady_clock::now();
    work.execute(str, {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_BIAS, bias},
                       {DNNL_ARG_DST, dst}});
    str.wait();
    std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (i) least = std::min(least, took.count());  // the first one is warm-up
  }
  return least;
}

}  // namespace restore_peak

RESTORE_OPERATOR(peak) {
  call.out(0).floats()[0] = (float)restore_peak::least_seconds(
      (int)call.integer("channels"), (int)call.integer("height"), (int)call.integer("width"),
      call.is("winograd"), (int)call.integer("repeat"));
}
