// The operators of correlation and warping. To be read after motion.cc.

namespace {

restore_motion::Size size_of(const restore::Call& call) {
  const int64_t* shape = call.in(0).shape;
  return {shape[0], shape[1], shape[2], shape[3]};
}

// The sampled map and the flow.
restore_motion::Warp warp_of(const restore::Call& call) {
  const int64_t *x = call.in(0).shape, *flow = call.in(1).shape;
  return {x[0], x[1], flow[2], flow[3], x[2], x[3], call.integer("top"), call.integer("left"),
          call.integer("frame_height"), call.integer("frame_width"), call.integer("target_top"),
          call.integer("target_left"), call.is("border"), (float)call.number("valid")};
}

}  // namespace

RESTORE_OPERATOR(correlate) {
  restore_motion::correlate(size_of(call), call.in(0).floats(), call.in(1).floats(),
                            call.out(0).floats());
}

RESTORE_OPERATOR(correlate_gradients) {
  restore_motion::correlate_gradients(size_of(call), call.in(2).floats(), call.in(0).floats(),
                                      call.in(1).floats(), call.out(0).floats(),
                                      call.out(1).floats());
}

RESTORE_OPERATOR(warp) {
  restore_motion::warp(warp_of(call), call.in(0).floats(), call.in(1).floats(),
                       call.out(0).floats());
}

RESTORE_OPERATOR(warp_gradients) {
  restore_motion::warp_gradients(warp_of(call), call.in(2).floats(), call.in(0).floats(),
                                 call.in(1).floats(), call.out(0).floats(), call.out(1).floats());
}
