// A step of Adam (Kingma and Ba, ICLR 2015, algorithm 1) for many arrays at once. To be read after
// blocked.cc.

namespace {

// Arrays of one parameter.
struct Moved {
  const float *value, *grad, *first, *second;
  float *new_value, *new_first, *new_second;
  int64_t size;
  float rate;
};

}  // namespace

// Inputs: a factor of the learning rate for each of n parameters, then n parameters, their
// gradients, and the first and second moments; outputs: the latter three anew.
RESTORE_OPERATOR(adam_step) {
  const int64_t count = call.in(0).shape[0];
  const float beta1 = (float)call.number("beta1"), other1 = (float)(1 - call.number("beta1"));
  const float beta2 = (float)call.number("beta2"), other2 = (float)(1 - call.number("beta2"));
  const float root = (float)call.number("root"), eps = (float)call.number("eps");
  std::vector<Moved> all(count);
  int64_t total = 0;
  for (int64_t i = 0; i < count; i++) {
    auto in = [&](int64_t part) { return call.in(1 + part * count + i).floats(); };
    auto out = [&](int64_t part) { return call.out(part * count + i).floats(); };
    all[i] = {in(0), in(1), in(2), in(3), out(0), out(1), out(2), call.out(i).bytes / 4,
              (float)(call.number("rate") * call.in(0).floats()[i])};
    total += all[i].size;
  }
  const int64_t parts = restore_blocked::available_threads();
#pragma omp parallel for schedule(static, 1)
  for (int64_t part = 0; part < parts; part++) {
    int64_t begin = total * part / parts, left = total * (part + 1) / parts - begin;
    for (const Moved& one : all) {
      const int64_t stop = std::min(one.size, begin + left);
      for (int64_t i = begin; i < stop; i++) {
        const float grad = one.grad[i];
        const float first = beta1 * one.first[i] + other1 * grad;
        const float second = beta2 * one.second[i] + other2 * grad * grad;
        one.new_first[i] = first;
        one.new_second[i] = second;
        one.new_value[i] = one.value[i] - one.rate * first / (std::sqrt(second) / root + eps);
      }
      if (begin < stop) {
        left -= stop - begin;
        begin = stop;
      }
      begin = std::max<int64_t>(0, begin - one.size);
      if (!left) break;
    }
  }
}
