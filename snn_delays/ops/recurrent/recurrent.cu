// Recurrent LIF populations, all steps in one launch. A block is a sample: its threads share out the neurons, and meet
// at barriers between what a step adds up and what it sends on. Compiled behind lif.cu, whose fires() and slope() serve.
//
// Tensors are [time, batch, neuron]. Delays of axons: taps [lag, source] with `count` synapses one after the other, so
// that sources = count * neurons. Delays of synapses: taps is null and weight has the lags. A lag k is least + k steps.

__device__ __forceinline__ real spike_at(
    const real* history, const real* spikes, int t, int before, int batch, int sample, int neurons, int n) {
    if (t < -before) return 0;
    const real* line = t < 0 ? history + (size_t)(before + t) * batch * neurons : spikes + (size_t)t * batch * neurons;
    return line[(size_t)sample * neurons + n];
}

// weight [source, target], or [lag, source, target]; trace [batch, source]; h is null where no backward pass follows.
extern "C" __global__ void recurrent_forward(
    const real* __restrict__ x, const real* __restrict__ history, const real* __restrict__ weight,
    const real* __restrict__ taps, const real* __restrict__ mask, const real* __restrict__ v0,
    const real* __restrict__ decay, const real* __restrict__ threshold, const real* __restrict__ gain, real v_reset,
    int soft_reset, int strict, int steps, int before, int batch, int neurons, int sources, int lags, int least,
    real* trace, real* h, real* spikes, real* v) {
    const int sample = blockIdx.x;
    real* own = trace + (size_t)sample * sources;
    for (int n = threadIdx.x; n < neurons; n += blockDim.x)
        v[(size_t)sample * neurons + n] = v0[(size_t)sample * neurons + n];
    for (int t = 0; t < steps; ++t) {
        if (taps) {
            for (int j = threadIdx.x; j < sources; j += blockDim.x) {
                real sum = 0;
                for (int k = 0; k < lags; ++k)
                    sum += taps[(size_t)k * sources + j]
                        * spike_at(history, spikes, t - least - k, before, batch, sample, neurons, j % neurons);
                own[j] = sum;
            }
            __syncthreads();
        }
        for (int n = threadIdx.x; n < neurons; n += blockDim.x) {
            real fed = 0;
            if (taps) {
                for (int j = 0; j < sources; ++j) fed += weight[(size_t)j * neurons + n] * own[j];
            } else {
                for (int k = 0; k < lags; ++k)
                    for (int j = 0; j < neurons; ++j) {  // few spike: the others are passed over by all threads alike
                        const real s = spike_at(history, spikes, t - least - k, before, batch, sample, neurons, j);
                        if (s != (real)0) fed += weight[((size_t)k * neurons + j) * neurons + n] * s;
                    }
            }
            const size_t lane = (size_t)sample * neurons + n, at = (size_t)t * batch * neurons + lane;
            const real heard = mask ? mask[lane] * fed : fed;
            const real m = decay[n] * (v[lane] - v_reset) + v_reset + gain[n] * (x[at] + heard);
            const real u = m - threshold[n];
            const real s = fires(u, strict) ? (real)1 : (real)0;
            if (h) h[at] = m;
            spikes[at] = u == u ? s : u;  // of NaN, NaN
            v[lane] = soft_reset ? m - threshold[n] * s : (s > (real)0 ? v_reset : m);
        }
        __syncthreads();
    }
}

// The scan in reverse. grad_v, of the membrane after, becomes that of the one before. grad_fed, of what is fed back, is
// [time, batch, neuron] and may be grad_x; grad_trace is [time, batch, source]. weight [target, source], or [lag, target,
// source].
extern "C" __global__ void recurrent_backward(
    const real* __restrict__ grad_spikes, const real* __restrict__ h, const real* __restrict__ weight,
    const real* __restrict__ taps, const real* __restrict__ mask, const real* __restrict__ decay,
    const real* __restrict__ threshold, const real* __restrict__ gain, real v_reset, int soft_reset, int detach_reset,
    int strict, int kind, real p, real q, int steps, int before, int batch, int neurons, int sources, int lags,
    int least, real* grad_x, real* grad_v, real* __restrict__ grad_history, real* grad_fed,
    real* grad_trace) {
    const int sample = blockIdx.x;
    for (int t = steps - 1; t >= -before; --t) {
        for (int n = threadIdx.x; n < neurons; n += blockDim.x) {
            real gs = 0;
            for (int k = 0; k < lags; ++k) {
                const int to = t + least + k;
                if (to < 0 || to >= steps) continue;
                if (taps) {
                    const real* row = grad_trace + ((size_t)to * batch + sample) * sources;
                    for (int j = n; j < sources; j += neurons) gs += taps[(size_t)k * sources + j] * row[j];
                } else {
                    const real* row = grad_fed + ((size_t)to * batch + sample) * neurons;
                    for (int i = 0; i < neurons; ++i)
                        gs += weight[((size_t)k * neurons + i) * neurons + n] * row[i];
                }
            }
            const size_t lane = (size_t)sample * neurons + n;
            if (t < 0) {
                grad_history[(size_t)(before + t) * batch * neurons + lane] = gs;
                continue;
            }
            const size_t at = (size_t)t * batch * neurons + lane;
            gs += grad_spikes[at];
            const real m = h[at], u = m - threshold[n], gv = grad_v[lane];
            const real s = fires(u, strict) ? (real)1 : (real)0;
            if (!detach_reset) gs += soft_reset ? -gv * threshold[n] : gv * (v_reset - m);
            const real gh = (soft_reset ? gv : gv * ((real)1 - s)) + gs * slope(u, kind, p, q);
            grad_x[at] = gh * gain[n];
            grad_v[lane] = gh * decay[n];
            grad_fed[at] = mask ? mask[lane] * grad_x[at] : grad_x[at];
        }
        __syncthreads();
        if (taps && t >= 0) {
            const real* sent = grad_fed + ((size_t)t * batch + sample) * neurons;
            for (int j = threadIdx.x; j < sources; j += blockDim.x) {
                real sum = 0;
                for (int i = 0; i < neurons; ++i) sum += weight[(size_t)i * sources + j] * sent[i];
                grad_trace[((size_t)t * batch + sample) * sources + j] = sum;
            }
            __syncthreads();
        }
    }
}
