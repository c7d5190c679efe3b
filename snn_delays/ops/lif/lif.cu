// LIF over a chunk of time, forward and backward. One thread per lane, a (batch, neuron) pair: neighbours in a warp read
// neighbouring numbers at every step. Compiled with -Dreal=float or double and without contraction of a * b + c, so that
// membranes round as they do in the reference and spikes agree to the last bit.
//
// Options are uniform over the grid. decay, threshold and gain are read at (neuron * stride), stride 0 for one number.

__device__ __forceinline__ bool fires(real u, int strict) { return strict ? u > (real)0 : u >= (real)0; }

// Derivatives of ops/surrogate.py; the kinds are numbered in ops/lif/function.py.
__device__ __forceinline__ real slope(real u, int kind, real p, real q) {
    const real one = 1, zero = 0;
    const real a = u < zero ? -u : u;
    if (kind == 0) {
        const real z = (real)1.57079632679489661923 * p * u;
        return (real)0.5 * p / (one + z * z);
    }
    if (kind == 1) {
        const real z = one + p * a;
        return one / (z * z);
    }
    if (kind == 2) {
        const real inside = one - a / p;
        return inside < zero ? zero : q * inside;  // NaN stays NaN
    }
    if (kind == 4) return one;  // the neurons never fire: their output is the membrane
    if (kind == 5) return u == u ? (u > -p && u <= p ? q : zero) : u;
    if (kind == 6) return (real)0.5 * q * p * exp(-p * a);
    if (kind == 7) {
        const real z = (real)0.5 * (u / p) * (u / p), peak = (real)0.39894228040143267794 / p;
        return peak * ((real)0.5 * (one + q) * exp(-z) - q / (real)6 * exp(-z / (real)36));
    }
    const real e = exp(-p * a);  // from the negative side, so that it cannot overflow; the slope is even
    return p * e / ((one + e) * (one + e));
}

// h is null where no backward pass follows, spikes where the neurons never fire.
extern "C" __global__ void lif_forward(
    const real* __restrict__ x, const real* __restrict__ v0, const real* __restrict__ decay, int decay_stride,
    const real* __restrict__ threshold, int threshold_stride, const real* __restrict__ gain, int gain_stride,
    real v_reset, int soft_reset, int strict, int steps, int lanes, int neurons,
    real* __restrict__ h, real* __restrict__ spikes, real* __restrict__ v_final) {
    const int lane = blockIdx.x * blockDim.x + threadIdx.x;
    if (lane >= lanes) return;
    const int neuron = lane % neurons;
    const real d = decay[(size_t)neuron * decay_stride], theta = threshold[(size_t)neuron * threshold_stride];
    const real g = gain[(size_t)neuron * gain_stride];
    real v = v0[lane];
    size_t at = lane;
#pragma unroll 8
    for (int t = 0; t < steps; ++t, at += lanes) {
        const real m = d * (v - v_reset) + v_reset + g * x[at];
        const real u = m - theta;
        const real s = fires(u, strict) ? (real)1 : (real)0;
        if (h) h[at] = m;
        if (spikes) spikes[at] = u == u ? s : u;  // of NaN, NaN
        v = soft_reset ? m - theta * s : (s > (real)0 ? v_reset : m);
    }
    v_final[lane] = v;
}

// Gradients of decay, threshold and gain are one number per lane; each is null where not wanted, x with grad_gain.
extern "C" __global__ void lif_backward(
    const real* __restrict__ grad_spikes, const real* __restrict__ grad_v, const real* __restrict__ h,
    const real* __restrict__ x, const real* __restrict__ v0, const real* __restrict__ decay, int decay_stride,
    const real* __restrict__ threshold, int threshold_stride, const real* __restrict__ gain, int gain_stride,
    real v_reset, int soft_reset, int detach_reset, int strict, int kind, real p, real q,
    int steps, int lanes, int neurons, real* __restrict__ grad_x, real* __restrict__ grad_v0,
    real* __restrict__ grad_decay, real* __restrict__ grad_threshold, real* __restrict__ grad_gain) {
    const int lane = blockIdx.x * blockDim.x + threadIdx.x;
    if (lane >= lanes) return;
    const int neuron = lane % neurons;
    const real d = decay[(size_t)neuron * decay_stride], theta = threshold[(size_t)neuron * threshold_stride];
    const real g = gain[(size_t)neuron * gain_stride];
    real gv = grad_v[lane], sum_decay = 0, sum_threshold = 0, sum_gain = 0;
    size_t at = (size_t)steps * lanes + lane;
#pragma unroll 4
    for (int t = steps - 1; t >= 0; --t) {
        at -= lanes;
        const real m = h[at];
        const real u = m - theta;
        const real s = fires(u, strict) ? (real)1 : (real)0;
        real gs = grad_spikes[at], through;
        if (soft_reset) {
            through = gv;
            sum_threshold -= gv * s;
            if (!detach_reset) gs -= gv * theta;
        } else {
            through = gv * ((real)1 - s);
            if (!detach_reset) gs += gv * (v_reset - m);
        }
        const real gu = gs * slope(u, kind, p, q);
        const real gh = through + gu;
        sum_threshold -= gu;
        grad_x[at] = gh * g;
        gv = gh * d;
        if (grad_decay) {
            real v = v0[lane];
            if (t > 0) {
                const real before = h[at - lanes];
                const real fired = fires(before - theta, strict) ? (real)1 : (real)0;
                v = soft_reset ? before - theta * fired : (fired > (real)0 ? v_reset : before);
            }
            sum_decay += gh * (v - v_reset);
        }
        if (grad_gain) sum_gain += gh * x[at];
    }
    grad_v0[lane] = gv;
    if (grad_decay) grad_decay[lane] = sum_decay;
    if (grad_threshold) grad_threshold[lane] = sum_threshold;
    if (grad_gain) grad_gain[lane] = sum_gain;
}
