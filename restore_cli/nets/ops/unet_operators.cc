// The operators of U-Nets. To be read after unet.cc.

namespace {

// place(i) tells where among the inputs the weight of layer i is. The first input is the image, or
// the gradient of what the network makes of it.
template <class Place>
restore_unet::Problem problem_of(const restore::Call& call, Place place) {
  restore_unet::Problem problem;
  problem.depth = (int)call.integer("depth");
  problem.n2v2 = call.is("n2v2");
  problem.transposed = call.is("transposed");
  problem.half = call.is("half");
  problem.slope = (float)call.number("slope");
  for (int64_t i = 0; i < problem.count_layers(); i++) {
    const restore::Array& weight = call.in(place(i));
    const bool turned = problem.is_up(i);
    restore_unet::Layer layer = {};
    layer.weight = weight.floats();
    layer.inputs = weight.shape[!turned];
    layer.outputs = weight.shape[turned];
    problem.layers.push_back(layer);
  }
  problem.count = call.in(0).shape[0];
  problem.channels = problem.layers[0].inputs;
  problem.height = call.in(0).shape[2];
  problem.width = call.in(0).shape[3];
  return problem;
}

restore_unet::Problem forward_problem(const restore::Call& call) {
  auto place = [](int64_t layer) { return 1 + 2 * layer; };
  restore_unet::Problem problem = problem_of(call, place);
  for (size_t i = 0; i < problem.layers.size(); i++)
    problem.layers[i].bias = call.in(place(i) + 1).floats();
  return problem;
}

}  // namespace

// Inputs: the image, then weight and bias of each layer.
RESTORE_OPERATOR(unet_infer) {
  restore_unet::infer(forward_problem(call), call.is("residual"), call.in(0).floats(),
                      call.out(0).floats());
}

RESTORE_OPERATOR(unet_forward) {
  restore_unet::train_forward(forward_problem(call), call.is("residual"), call.in(0).floats(),
                              call.out(0).floats(), call.out(1).floats(), call.out(1).shape[0]);
}

// Inputs: the gradient of the output, what the forward pass kept, the weights; outputs: what
// `unet_input_gradient` needs, then the gradients of weight and bias of each layer.
RESTORE_OPERATOR(unet_backward) {
  restore_unet::Problem problem = problem_of(call, [](int64_t layer) { return 2 + layer; });
  for (size_t i = 0; i < problem.layers.size(); i++) {
    problem.layers[i].weight_grad = call.out(1 + 2 * i).floats();
    problem.layers[i].bias_grad = call.out(2 + 2 * i).floats();
  }
  restore_unet::train_backward(problem, call.in(1).floats(), call.in(0).floats(),
                               call.out(0).floats(), call.out(0).shape[0]);
}

// Inputs: what the backward pass left, the first layer's weight.
RESTORE_OPERATOR(unet_input_gradient) {
  restore_unet::Problem problem = {};
  restore_unet::Layer layer = {};
  layer.weight = call.in(1).floats();
  layer.inputs = call.in(1).shape[1];
  layer.outputs = call.in(1).shape[0];
  problem.layers.push_back(layer);
  problem.count = call.out(0).shape[0];
  problem.channels = call.out(0).shape[1];
  problem.height = call.out(0).shape[2];
  problem.width = call.out(0).shape[3];
  restore_unet::head_to_input(problem, call.in(0).floats(), call.out(0).floats());
}
