// WKV over a chunk of time, forward and backward. One thread per lane, a (batch, neuron) pair, serial in time: neighbours
// in a warp read neighbouring numbers at every step. The formulas are in ops/wkv/function.py. Compiled with -Dreal=float
// or double and without contraction of a * b + c, so that time in chunks gives the bits of time in one piece.
//
// What limits it: 12 x 512 lanes are 48 blocks of 128 threads, less than a block for each multiprocessor of a large GPU
// and one warp for each scheduler that has any, so latency does and not bandwidth; smaller blocks would only leave
// schedulers empty. Steps are therefore read several at a time, while those before are computed. The compiler does not do
// this by itself: the division's slow path is a branch, over which it moves no load.

constexpr int FORWARD_STEPS = 8, BACKWARD_STEPS = 4;  // read at a time; registers hold twice as many

// into[a][i] = from[a][at + i * stride], the first `left` steps only, all reads under way at once.
template <int ARRAYS, int STEPS>
__device__ __forceinline__ void read(
    const real* const (&from)[ARRAYS], long long at, long long stride, int left, real (&into)[ARRAYS][STEPS]) {
#pragma unroll
    for (int i = 0; i < STEPS; ++i) {
#pragma unroll
        for (int a = 0; a < ARRAYS; ++a) into[a][i] = i < left ? from[a][at + i * stride] : (real)0;
    }
}

template <int ARRAYS, int STEPS>
__device__ __forceinline__ void copy(const real (&from)[ARRAYS][STEPS], real (&into)[ARRAYS][STEPS]) {
#pragma unroll
    for (int i = 0; i < STEPS; ++i) {
#pragma unroll
        for (int a = 0; a < ARRAYS; ++a) into[a][i] = from[a][i];
    }
}

struct Weights {
    real past, now, exponent;
};

// e^(past - n) and e^(now - n) with n the larger: one is 1, or NaN where n is infinite, as e^(n - n) is.
__device__ __forceinline__ Weights weigh(real past, real now) {
    const real gap = past - now, zero = 0;
    const real n = gap > zero ? past : now;
    const real smaller = exp(gap > zero ? -gap : gap), one = (real)1 + (n - n);
    return gap > zero ? Weights{one, smaller, n} : Weights{smaller, one, n};
}

// trace is [3, steps, lanes], the state before every step: null where no backward pass follows.
extern "C" __global__ void wkv_forward(
    const real* __restrict__ key, const real* __restrict__ value, const real* __restrict__ log_decay,
    const real* __restrict__ bonus, const real* __restrict__ numerator, const real* __restrict__ denominator,
    const real* __restrict__ exponent, int steps, int lanes, int neurons, real* __restrict__ trace,
    real* __restrict__ y, real* __restrict__ last_numerator, real* __restrict__ last_denominator,
    real* __restrict__ last_exponent) {
    const int lane = blockIdx.x * blockDim.x + threadIdx.x;
    if (lane >= lanes) return;
    const real w = log_decay[lane % neurons], u = bonus[lane % neurons];
    const long long plane = (long long)steps * lanes;
    real p = numerator[lane], q = denominator[lane], o = exponent[lane];
    const real* const from[2] = {key, value};
    real here[2][FORWARD_STEPS], ahead[2][FORWARD_STEPS];
    long long at = lane;
    read(from, at, lanes, steps, ahead);
    for (int left = steps; left > 0; left -= FORWARD_STEPS) {
        copy(ahead, here);
        read(from, at + (long long)FORWARD_STEPS * lanes, lanes, left - FORWARD_STEPS, ahead);
#pragma unroll
        for (int i = 0; i < FORWARD_STEPS; ++i, at += lanes) {
            if (i >= left) break;
            const real k = here[0][i], v = here[1][i];
            if (trace) {
                trace[at] = p;
                trace[plane + at] = q;
                trace[2 * plane + at] = o;
            }
            const Weights out = weigh(o, u + k), next = weigh(w + o, k);
            y[at] = (out.past * p + out.now * v) / (out.past * q + out.now);
            p = next.past * p + next.now * v;
            q = next.past * q + next.now;
            o = next.exponent;
        }
    }
    last_numerator[lane] = p;
    last_denominator[lane] = q;
    last_exponent[lane] = o;
}

// gp and gq are the gradients of the sums after the step at hand, in the scale e^exponent in which the forward pass kept
// these: then every factor on their way is at most 1. Gradients of log_decay and bonus are one number per lane.
extern "C" __global__ void wkv_backward(
    const real* __restrict__ grad_y, const real* __restrict__ grad_last_numerator,
    const real* __restrict__ grad_last_denominator, const real* __restrict__ key, const real* __restrict__ value,
    const real* __restrict__ log_decay, const real* __restrict__ bonus, const real* __restrict__ trace, int steps,
    int lanes, int neurons, real* __restrict__ grad_key, real* __restrict__ grad_value,
    real* __restrict__ grad_log_decay, real* __restrict__ grad_bonus, real* __restrict__ grad_numerator,
    real* __restrict__ grad_denominator) {
    const int lane = blockIdx.x * blockDim.x + threadIdx.x;
    if (lane >= lanes) return;
    const real w = log_decay[lane % neurons], u = bonus[lane % neurons];
    const long long plane = (long long)steps * lanes;
    real gp = grad_last_numerator[lane], gq = grad_last_denominator[lane], sum_decay = 0, sum_bonus = 0;
    const real* const from[6] = {grad_y, key, value, trace, trace + plane, trace + 2 * plane};
    real here[6][BACKWARD_STEPS], behind[6][BACKWARD_STEPS];
    long long at = plane - lanes + lane;
    read(from, at, -lanes, steps, behind);
    for (int left = steps; left > 0; left -= BACKWARD_STEPS) {
        copy(behind, here);
        read(from, at - (long long)BACKWARD_STEPS * lanes, -lanes, left - BACKWARD_STEPS, behind);
#pragma unroll
        for (int i = 0; i < BACKWARD_STEPS; ++i, at -= lanes) {
            if (i >= left) break;
            const real gy = here[0][i], k = here[1][i], v = here[2][i], p = here[3][i], q = here[4][i], o = here[5][i];
            const Weights out = weigh(o, u + k), next = weigh(w + o, k);

            const real inverse = (real)1 / (out.past * q + out.now);
            const real average = (out.past * p + out.now * v) * inverse;
            const real share = gy * inverse;
            const real through_bonus = share * out.now * (v - average);
            sum_bonus += through_bonus;
            sum_decay += next.past * (p * gp + q * gq);
            grad_key[at] = through_bonus + next.now * (v * gp + gq);
            grad_value[at] = share * out.now + next.now * gp;

            gp = next.past * gp + out.past * share;
            gq = next.past * gq - out.past * share * average;
        }
    }
    grad_log_decay[lane] = sum_decay;
    grad_bonus[lane] = sum_bonus;
    grad_numerator[lane] = gp;
    grad_denominator[lane] = gq;
}
