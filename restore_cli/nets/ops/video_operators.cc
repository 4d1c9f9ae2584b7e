// The operators of the video network. To be read after video.cc and video_tail.cc.

// All weights, one after the other, and their outputs and inputs.
RESTORE_OPERATOR(pack_chain) {
  const bool half = call.is("half");
  const float* from = call.in(0).floats();
  const int32_t* shapes = call.in(1).integers();
  float* to = restore_chain::noted(call.out(0).floats());
  for (int64_t i = 0; i < call.in(1).shape[0]; i++) {
    const int64_t outputs = shapes[2 * i], inputs = shapes[2 * i + 1];
    restore_winograd::transform_weights(from, inputs, outputs, false, to, half);
    from += 9 * inputs * outputs;
    to += (half ? 18 : 36) * inputs * outputs;
  }
}

// Packed weights and biases; for each map, which of the other arrays is its flow (0: none), and its
// first pixel's row and column in the frame; the maps; the flows.
RESTORE_OPERATOR(chain) {
  std::vector<restore_chain::Given> maps;
  const restore::Array &places = call.in(2), &out = call.out(0);
  for (int64_t i = 0; i < places.shape[0]; i++) {
    const int32_t* place = places.integers() + 3 * i;
    const restore::Array& map = call.in(3 + i);
    maps.push_back({map.floats(), nullptr, {}});
    if (!place[0]) continue;
    maps.back().flow = call.in(3 + place[0]).floats();
    maps.back().place = {
        map.shape[0], map.shape[1], out.shape[2], out.shape[3], map.shape[2], map.shape[3],
        place[1], place[2], call.integer("frame_height"), call.integer("frame_width"),
        call.integer("target_top"), call.integer("target_left"), true,
        (float)call.number("valid")};
  }
  restore_chain::chain(maps, out.shape[0], call.in(3).shape[1], out.shape[2], out.shape[3],
                       out.shape[1], call.integer("blocks"),
                       {call.in(0).floats(), call.in(1).floats(), call.is("half")}, out.floats());
}

// Packed weights, biases, transposed convolutions, steps, widths; then two maps a level.
RESTORE_OPERATOR(decode_flow) {
  restore_video::Widths widths;
  const int32_t* number = call.in(4).integers();
  for (auto* list : {&widths.dense, &widths.refined, &widths.dilations})
    for (int left = *number++; left; left--) list->push_back(*number++);
  widths.ups = call.in(2).floats();
  widths.steps = call.in(3).floats();
  std::vector<restore_video::Level> levels;
  for (size_t i = 5; i < call.inputs.size(); i += 2) {
    const restore::Array &one = call.in(i), &two = call.in(i + 1);
    levels.push_back({one.floats(), two.floats(), one.shape[0], two.shape[1], two.shape[2],
                      two.shape[3]});
  }
  restore_video::decode(levels, call.out(0).shape[0], widths,
                        {call.in(0).floats(), call.in(1).floats(), call.is("half")},
                        call.out(0).floats());
}

// Weights (inputs, 5, 5, outputs).
RESTORE_OPERATOR(pack_tail) {
  const restore::Array& weight = call.in(0);
  restore_video::transform_tail(weight.floats(), weight.shape[0], weight.shape[3],
                                restore_chain::noted(call.out(0).floats()));
}

// Packed weights and bias of the inside, those of the rim, the map, the frame.
RESTORE_OPERATOR(enlarge_picture) {
  const float* packed = call.in(0).floats();
  const int64_t *shape = call.in(4).shape, *frame = call.in(5).shape;
  restore_video::enlarge_picture(
      call.in(4).floats(), shape[0], shape[1], shape[2], shape[3], packed + (int64_t)packed[0],
      call.in(1).floats(), {call.in(2).floats(), call.in(3).floats()},
      {call.is("top"), call.is("bottom"), call.is("left"), call.is("right")},
      call.in(5).floats(), frame[1], call.integer("scale"), call.out(0).floats());
}
