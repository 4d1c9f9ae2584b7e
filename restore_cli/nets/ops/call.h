// What an operator gets when Jittor runs it: its arrays, and numbers by name. Libraries are
// compiled with it, and so are the kernels that call them.

#include <cstdint>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace restore {

struct Array {
  void* data = nullptr;
  int64_t bytes = 0;
  int64_t shape[10] = {};
  float* floats() const { return (float*)data; }
  const int32_t* integers() const { return (const int32_t*)data; }
};

struct Call {
  const std::unordered_map<std::string, double>& numbers;
  std::vector<Array> inputs, outputs;
  const Array& in(size_t place) const { return inputs.at(place); }
  const Array& out(size_t place) const { return outputs.at(place); }
  double number(const std::string& name) const { return numbers.at(name); }
  int64_t integer(const std::string& name) const { return (int64_t)number(name); }
  bool is(const std::string& name) const { return number(name) != 0; }
};

}  // namespace restore

// Begins the definition of an operator, or declares it.
#define RESTORE_OPERATOR(name)                            \
  extern "C" __attribute__((visibility("default"))) void  \
  restore_operator_##name(const restore::Call& call)
