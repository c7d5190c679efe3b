// Leaky integrators over a chunk of time, v_t = d v_{t-1} + x_t, and the same recursion backwards. One thread per lane, a
// (batch, neuron) pair. Compiled with -Dreal=float or double, without contraction, so that it rounds as the reference
// does. decay is read at (neuron * stride), stride 0 for one number.

extern "C" __global__ void integrate(
    const real* __restrict__ x, const real* __restrict__ v0, const real* __restrict__ decay, int decay_stride,
    int steps, int lanes, int neurons, real* __restrict__ trace) {
    const int lane = blockIdx.x * blockDim.x + threadIdx.x;
    if (lane >= lanes) return;
    const real d = decay[(size_t)(lane % neurons) * decay_stride];
    real v = v0[lane];
    size_t at = lane;
#pragma unroll 8
    for (int t = 0; t < steps; ++t, at += lanes) {
        v = d * v + x[at];
        trace[at] = v;
    }
}

extern "C" __global__ void integrate_backward(
    const real* __restrict__ grad, const real* __restrict__ trace, const real* __restrict__ v0,
    const real* __restrict__ decay, int decay_stride, int steps, int lanes, int neurons,
    real* __restrict__ grad_x, real* __restrict__ grad_v0, real* __restrict__ grad_decay) {
    const int lane = blockIdx.x * blockDim.x + threadIdx.x;
    if (lane >= lanes) return;
    const real d = decay[(size_t)(lane % neurons) * decay_stride];
    real gv = 0, sum_decay = 0;
    size_t at = (size_t)steps * lanes + lane;
#pragma unroll 4
    for (int t = steps - 1; t >= 0; --t) {
        at -= lanes;
        const real total = grad[at] + gv;
        grad_x[at] = total;
        sum_decay += total * (t > 0 ? trace[at - lanes] : v0[lane]);
        gv = total * d;
    }
    grad_v0[lane] = gv;
    grad_decay[lane] = sum_decay;
}
