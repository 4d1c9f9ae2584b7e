// A transposed convolution that doubles the sides, and a convolution of its result and the image,
// which nothing lies between, as one convolution: of the smaller map and the image's squares, to
// squares. Taps of the former and the latter meet at 25 places of the smaller map, instead of the
// 36 products of each that both take for themselves. Where zeros stand around the map between
// them, that is at the outermost pixels, both are computed as they are. To be read after graph.cc.

namespace restore_graph {

// The number of the transposed convolution of such a pair, which the other follows, or -1.
static int merging_step(const Graph& g) {
  for (size_t i = 0; i + 1 < g.steps.size(); i++) {
    const Step &one = g.steps[i], &next = g.steps[i + 1];
    int uses = one.out == g.last();
    for (const Step& s : g.steps)
      for (int k = 0; k < s.ins; k++) uses += s.in[k] == one.out;
    if (one.kind == DOUBLE && next.kind == CONVOLVE && next.ins == 2 && next.in[0] == one.out &&
        next.in[1] == 0 && uses == 1 && g.in_factor == 1 && 4 * g.in_channels <= GROUP)
      return (int)i;
  }
  return -1;
}

struct Merged {
  const Graph& g;
  const std::vector<const float*>& parameters;
  const Step &doubling, &joining;
  const Layer &up, &conv;
  const int64_t blocks, in_blocks, out_blocks;  // of the output; of the merged convolution
  float *packed = nullptr, *taps = nullptr, *weights = nullptr, *biases = nullptr;
  Map squares, small[2], image[2], large[2], out[2];  // strips: rows, columns

  Merged(const Graph& graph, const std::vector<const float*>& given, int step)
      : g(graph), parameters(given), doubling(g.steps[step]), joining(g.steps[step + 1]),
        up(g.layers[doubling.layer]), conv(g.layers[joining.layer]), blocks(conv.out()),
        in_blocks(up.in() + GROUP / LANES), out_blocks(4 * blocks) {
    auto map = [&](int64_t count_blocks, int64_t height, int64_t width) {
      Map made;
      made.count = g.count;
      made.blocks = count_blocks;
      made.height = height;
      made.width = width;
      return made;
    };
    const int64_t height = g.height / 2, width = g.width / 2;
    squares = map(GROUP / LANES, height, width);
    for (int k = 0; k < 2; k++) {
      const int64_t y = k ? height : 2, x = k ? 2 : width;
      small[k] = map(up.in(), y, x);
      image[k] = map(GROUP / LANES, 2 * y, 2 * x);
      large[k] = map(up.out(), 2 * y, 2 * x);
      out[k] = map(blocks, 2 * y, 2 * x);
    }
  }

  // Takes what it needs, or only tells the floats.
  int64_t place(float* base) {
    int64_t used = 0;
    auto take = [&](int64_t floats) {
      float* made = base + used;
      used += Pool::rounded(floats);
      return made;
    };
    packed = take(9 * up.outputs * conv.outputs);
    taps = take(9 * up.outputs * up.inputs);
    weights = take(weights_size(in_blocks, out_blocks));
    biases = take(conv.outputs);
    squares.data = take(squares.size());
    for (int k = 0; k < 2; k++)
      for (Map* one : {&small[k], &image[k], &large[k], &out[k]}) one->data = take(one->size());
    return used;
  }

  float weight(const Layer& layer, int64_t output, int64_t input, int tap) const {
    const int32_t place = layer.index[(output * layer.inputs + input) * 9 + tap];
    return place < 0 ? 0 : parameters[layer.weight][place];
  }

  // A member's part: (tap, input, output) of the convolution, (input, output, tap) of the other.
  void pack(const Member& member) const {
    member.share(9 * up.outputs, [&](int64_t i) {
      for (int64_t o = 0; o < conv.outputs; o++)
        packed[i * conv.outputs + o] = weight(conv, o, i % up.outputs, (int)(i / up.outputs));
    });
    member.share(up.inputs * up.outputs, [&](int64_t i) {
      for (int t = 0; t < 9; t++)
        taps[9 * i + t] = weight(up, i % up.outputs, i / up.outputs, t);
    });
  }

  // Along one axis, tap k of the convolution meets tap t of the transposed one for one row of an
  // output square only, at a place 0 to 2 of the smaller map.
  static int row(int k, int t) { return t == 1 ? (k + 1) % 2 : k % 2; }
  static int at(int k, int t) {
    const int distance = row(k, t) + k - 1;
    return t == 1 ? distance / 2 + 1 : (distance > 0) + (t == 0);
  }

  // Weights from one input to a block of outputs, for each pixel of a square.
  void collect(int64_t input, int64_t block, Vector (&to)[4][3][3]) const {
    const int64_t first = block * LANES;
    if (input < up.inputs) {
      for (int k = 0; k < 9; k++) {
        Vector sum[9] = {};
        const float* tap = taps + input * up.outputs * 9;
        for (int64_t m = 0; m < up.outputs; m++, tap += 9) {
          const Vector one = load(packed + (k * up.outputs + m) * conv.outputs + first);
          for (int t = 0; t < 9; t++) sum[t] += one * tap[t];
        }
        for (int t = 0; t < 9; t++)
          to[2 * row(k / 3, t / 3) + row(k % 3, t % 3)][at(k / 3, t / 3)][at(k % 3, t % 3)] +=
              sum[t];
      }
      return;
    }
    const int64_t channel = (input - up.inputs) % g.in_channels;
    const int64_t phase = (input - up.inputs) / g.in_channels;
    for (int square = 0; square < 4 && phase < 4; square++)
      for (int k = 0; k < 9; k++) {
        const int y = square / 2 + k / 3 - 1, x = square % 2 + k % 3 - 1;  // from -1 to 2
        if ((y & 1) != phase / 2 || (x & 1) != phase % 2) continue;
        Vector& place = to[square][(y + 2) / 2][(x + 2) / 2];
        for (int lane = 0; lane < LANES; lane++)
          place[lane] = weight(conv, first + lane, up.outputs + channel, k);
      }
  }

  // A member's part of the merged weights; all have packed.
  template <class Form>
  void compose(const Member& member) const {
    const int64_t step = in_blocks * out_blocks * Form::WORDS * LANES;
    member.share(in_blocks * Form::WORDS, [&](int64_t word) {
      for (int64_t block = 0; block < blocks; block++) {
        Vector u[Form::DEPTH][4][6][6];
        for (int k = 0; k < Form::DEPTH; k++) {
          Vector made[4][3][3] = {};
          collect(word * Form::DEPTH + k, block, made);
          for (int square = 0; square < 4; square++)
            both_ways<3, 6, spread_weight>(made[square], u[k][square]);
        }
        for (int square = 0; square < 4; square++) {
          float* place = weights + weight_place(in_blocks, out_blocks, square * blocks + block,
                                                word, Form::WORDS);
          for (int p = 0; p < POINTS; p++) {
            Vector both[Form::DEPTH];
            for (int k = 0; k < Form::DEPTH; k++) both[k] = u[k][square][p / 6][p % 6];
            Form::put_weights(place + p * step, both);
          }
        }
      }
    });
    member.share(conv.outputs, [&](int64_t o) {
      auto bias = [&](const Layer& layer, int64_t i) {
        const int32_t place = layer.index[layer.size() + i];
        return place < 0 ? 0 : parameters[layer.bias][place];
      };
      float sum = bias(conv, o);
      for (int64_t i = 0; i < 9 * up.outputs; i++)
        sum += packed[i * conv.outputs + o] * bias(up, i % up.outputs);
      biases[o] = sum;
    });
  }

  // A member's part, right but for the outermost pixels.
  template <class Form>
  void inside(const Member& member, const Map& given, const Map& result, float* scratch) const {
    const Map in[2] = {given, squares};
    const int64_t room = chunk_tiles(in_blocks, out_blocks);
    const Chunk from{room, in_blocks, Form::WORDS}, to{room, out_blocks};
    const int64_t step = in_blocks * out_blocks * Form::WORDS * LANES, to_step = to.step();
    const int64_t total = given.count * given.tiles_y() * given.tiles_x();
    float *v = scratch, *m = v + Pool::rounded(from.size());
    for (int64_t first = member.begin(total); first < member.end(total); first += room) {
      const int64_t tiles = std::min(room, member.end(total) - first);
      transform_inputs<Form>(in, 2, first, tiles, from, v);
      for (int p = 0; p < POINTS; p++)
        multiply_panels<Form>(v + p * from.step(), from, tiles, weights + p * step,
                              m + p * to.step(), to);
      for (int64_t number = 0; number < out_blocks; number++)
        for (int64_t t = 0; t < tiles; t++) {
          const int64_t block = number % blocks, square = number / blocks;
          const Tile tile(given, first + t);
          Vector product[6][6], y[4][4];
          const float* place = m + (number * room + t) * LANES;
#pragma GCC unroll 36
          for (int p = 0; p < POINTS; p++) product[p / 6][p % 6] = load(place + p * to_step);
          both_ways<6, 4, gather_output>(product, y);
          const Vector more = load(biases + block * LANES);
          for (int64_t a = 0; a < std::min<int64_t>(4, given.height - tile.y); a++)
            for (int64_t b = 0; b < std::min<int64_t>(4, given.width - tile.x); b++)
              store(result.at(tile.n, block, 2 * (tile.y + a) + square / 2,
                              2 * (tile.x + b) + square % 2),
                    rectify(y[a][b] + more, joining.slope));
        }
    }
  }

  static void copy(const Member& member, const Map& from, int64_t y, int64_t x, const Map& to,
                   int64_t to_y, int64_t to_x, int64_t height, int64_t width) {
    member.share(to.count * to.blocks * height, [&](int64_t i) {
      const int64_t plane = i / height, row = i % height;
      const int64_t n = plane / to.blocks, block = plane % to.blocks;
      std::memcpy(to.at(n, block, to_y + row, to_x), from.at(n, block, y + row, x),
                  width * LANES * sizeof(float));
    });
  }

  // A member's part of the outermost pixels: both convolutions of two lines of the smaller map.
  template <class Form>
  void around(const Member& member, const Map& given, const Map& picture, const Map& result,
              const float* up_weights, const float* up_biases, const float* conv_weights,
              const float* conv_biases, float* scratch) const {
    for (int side = 0; side < 4; side++) {
      const int k = side / 2, last = side % 2;
      const int64_t y = !k && last ? given.height - 2 : 0, x = k && last ? given.width - 2 : 0;
      for (const Map* one : {&small[k], &image[k], &large[k], &out[k]}) member.clear_frame(*one);
      copy(member, given, y, x, small[k], 0, 0, small[k].height, small[k].width);
      copy(member, picture, 2 * y, 2 * x, image[k], 0, 0, image[k].height, image[k].width);
      member.wait();
      doubled_convolve<Form>(member, small[k], up_weights, up_biases, large[k], scratch);
      member.wait();
      const Map in[2] = {large[k], image[k]};
      convolve_part<Form>(member, in, 2, conv_weights, conv_biases, joining.slope, &out[k], 1,
                          nullptr, scratch, nullptr);
      member.wait();
      const int64_t from_y = !k && last ? 3 : 0, from_x = k && last ? 3 : 0;
      copy(member, out[k], from_y, from_x, result, 2 * y + from_y, 2 * x + from_x,
           k ? result.height : 1, k ? 1 : result.width);
      member.wait();
    }
  }
};

}  // namespace restore_graph
