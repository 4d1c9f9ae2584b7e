// The operators of NAFNet's and Restormer's blocks. To be read after the other files of `led_`
// and naf_train.cc.

namespace {

using namespace restore_led;

// Named inputs: a number of the call tells the place of each, -1 where it is missing.
struct Named {
  const restore::Call& call;
  const restore::Array* found(const std::string& name) const {
    const int64_t place = call.integer(name);
    return place < 0 ? nullptr : &call.in(place);
  }
  const float* at(const std::string& name) const {
    const restore::Array* array = found(name);
    return array ? array->floats() : nullptr;
  }
  Conv conv(const std::string& name) const {
    return {at(name + ".weight"), at(name + ".bias"), found(name + ".weight")->shape[0]};
  }
  Norm norm() const {
    return {at("norm.weight"), at("norm.bias"), (float)call.number("eps")};
  }
};

Window window_of(const restore::Call& call, int64_t above, int64_t below) {
  const int64_t* shape = call.in(0).shape;
  return {shape[0], shape[1], shape[2], shape[3], above, below};
}

Window window_of(const restore::Call& call) {
  return window_of(call, call.integer("above"), call.integer("below"));
}

}  // namespace

RESTORE_OPERATOR(naf_gather) {
  const Named named{call};
  naf_gather(window_of(call), call.in(0).floats(), named.norm(), named.conv("conv"),
             named.conv("depthwise"), call.out(0).floats(), call.out(1).floats());
}

RESTORE_OPERATOR(naf_finish) {
  const Named named{call};
  naf_finish(window_of(call), call.in(0).floats(), named.at("gated"), named.at("total"),
             call.number("pixels"), named.conv("sca"), named.conv("conv3"), named.at("beta"),
             named.norm(), named.conv("conv4"), named.conv("conv5"), named.at("gamma"),
             call.out(0).floats());
}

RESTORE_OPERATOR(restormer_gather) {
  const Named named{call};
  restormer_gather(window_of(call), call.in(0).floats(), named.norm(), named.conv("conv"),
                   named.conv("depthwise"), call.integer("heads"), call.out(0).floats(),
                   call.out(1).floats(), call.out(2).floats());
}

RESTORE_OPERATOR(restormer_finish) {
  const Named named{call};
  restormer_finish(window_of(call), call.in(0).floats(), named.at("values"), named.at("products"),
                   named.at("squares"), named.at("temperature"), call.integer("heads"),
                   named.conv("attention_out"), named.norm(), named.conv("project_in"),
                   named.conv("depthwise"), named.conv("project_out"), call.out(0).floats());
}

// Input, gated part and its sums, the gradient of the output, then the parameters; the gradients
// of input and parameters.
RESTORE_OPERATOR(naf_gradient) {
  auto at = [&](int i) { return call.in(4 + i).floats(); };
  auto conv = [&](int i) { return Conv{at(i), at(i + 1), call.in(4 + i).shape[0]}; };
  const float eps = (float)call.number("eps");
  const Block block = {{at(0), at(1), eps}, conv(2), conv(4), conv(6), conv(8), at(10),
                       {at(11), at(12), eps}, conv(13), conv(15), at(17)};
  float* to[18];
  for (int i = 0; i < 18; i++) to[i] = call.out(1 + i).floats();
  const BlockGradient gradient = {to[0], to[1], to[2], to[3], to[4], to[5], to[6], to[7], to[8],
                                  to[9], to[10], to[11], to[12], to[13], to[14], to[15], to[16],
                                  to[17]};
  naf_gradient(window_of(call, 0, 0), call.in(0).floats(), call.in(1).floats(),
               call.in(2).floats(), call.in(3).floats(), block, call.out(0).floats(), gradient);
}
